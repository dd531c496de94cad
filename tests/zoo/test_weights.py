"""Weights into networks: what fits, what does not, and what is said then."""

import functools
import hashlib

import pytest
import torch
from torch import nn

from eyespot.zoo import WeightsError, create_model, load_weights, weights_origin


@functools.cache
def modern_lenet():
    return create_model("lenet5_modern")


def saved(path, content):
    torch.save(content, path)
    return path


def test_weights_are_copied_and_their_origin_told(tmp_path):
    path = saved(tmp_path / "digits.pt", modern_lenet().state_dict())
    network = create_model("lenet5_modern", weights=path)
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(network(images), modern_lenet()(images))
    origin = weights_origin(network)
    assert origin.source == "digits.pt"  # not where it lay on this machine
    assert origin.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert origin.published is None
    assert not origin.transform_input
    assert weights_origin(modern_lenet()) is None


def test_paths_may_be_strings_and_modules_from_elsewhere(tmp_path):
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    path = saved(tmp_path / "linear.pt", source.state_dict())
    assert load_weights(target, str(path)).source == "linear.pt"
    assert torch.equal(target.weight, source.weight)


def test_half_precision_is_widened(tmp_path):
    halves = {name: tensor.half() for name, tensor in modern_lenet().state_dict().items()}
    network = create_model("lenet5_modern", weights=saved(tmp_path / "half.pt", halves))
    assert network.fc3.weight.dtype == torch.float32
    assert torch.equal(network.fc3.weight, halves["fc3.weight"].float())


def test_the_codes_of_lenet5_travel_with_its_weights(tmp_path):
    network = create_model("lenet5")
    network.output.codes.neg_()
    path = saved(tmp_path / "lenet5.pt", network.state_dict())
    loaded = create_model("lenet5", weights=path)
    assert torch.equal(loaded.output.codes, network.output.codes)


def test_old_files_do_not_count_batches(tmp_path):
    state_dict = create_model("resnet20").state_dict()
    old = {n: t for n, t in state_dict.items() if not n.endswith("num_batches_tracked")}
    assert len(old) < len(state_dict)
    create_model("resnet20", weights=saved(tmp_path / "old.th", old))


def test_old_densenet_names_are_understood(tmp_path):
    state_dict = create_model("densenet121", num_classes=2).state_dict()
    old = {
        n.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2."): t
        for n, t in state_dict.items()
    }
    path = saved(tmp_path / "old.pth", old)
    loaded = create_model("densenet121", num_classes=2, weights=path).state_dict()
    assert all(torch.equal(loaded[name], state_dict[name]) for name in state_dict)


def test_every_difference_of_names_is_counted_and_the_first_shown(tmp_path):
    path = saved(tmp_path / "resnet.th", create_model("resnet20").state_dict())
    with pytest.raises(WeightsError) as raised:
        create_model("lenet5_modern", weights=path)
    message = str(raised.value)
    assert "Nearest: conv1.bias" not in message  # of 6 numbers, and the bn1.bias there of 16
    assert message.startswith("resnet.th does not fit this network. Missing: conv1.bias, conv2.")
    # 10 parameters in the network, of which the file has the name conv1.weight alone.
    assert "conv2.bias, fc1.weight, fc1.bias and 4 more. Unexpected: bn1.weight," in message
    assert "Of another shape: conv1.weight is 16x3x3x3 in the file, 6x1x5x5 in the net" in message
    assert message.endswith("Give the file's own network, num_classes, in_channels and input_size")


def test_names_that_nearly_fit_are_shown_beside_each_other(tmp_path):
    content = modern_lenet().state_dict()
    content["fc3.kernel_weight"] = content.pop("fc3.weight").T
    content["fc3.biases"] = content.pop("fc3.bias")
    with pytest.raises(WeightsError) as raised:
        create_model("lenet5_modern", weights=saved(tmp_path / "renamed.pt", content))
    assert (
        "Nearest: fc3.weight may be fc3.kernel_weight in the file (84x10 there, 10x84 here), "
        "fc3.bias may be fc3.biases in the file. Give" in str(raised.value)
    )


class Renormalising(nn.Linear):
    """Torchvision's GoogLeNet and Inception have such a switch."""

    transform_input = False


def test_transform_input_is_told_by_flag(tmp_path):
    path = saved(tmp_path / "linear.pt", nn.Linear(2, 3).state_dict())
    for told, expected in ((None, False), (True, True), (False, False)):
        network = Renormalising(2, 3)
        origin = load_weights(network, path, transform_input=told)
        assert (origin.transform_input, network.transform_input) == (expected, expected)
    with pytest.raises(WeightsError, match=r"Linear does not re-normalise .*--transform-input"):
        load_weights(nn.Linear(2, 3), path, transform_input=False)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_modern"])
def test_another_number_of_classes_is_recognised(tmp_path, name):
    path = saved(tmp_path / "ten.pt", create_model(name).state_dict())
    with pytest.raises(WeightsError, match=r"trained on 10 classes: num_classes=10 \(--num-cl"):
        create_model(name, num_classes=4, weights=path)


def test_another_number_of_channels_is_recognised(tmp_path):
    path = saved(tmp_path / "grey.pt", modern_lenet().state_dict())
    with pytest.raises(WeightsError, match=r"trained on 1 channels: in_channels=1 \(--channels 1"):
        create_model("lenet5_modern", in_channels=3, weights=path)


def test_another_input_size_is_another_shape(tmp_path):
    path = saved(tmp_path / "digits.pt", modern_lenet().state_dict())
    with pytest.raises(WeightsError, match=r"fc1.weight is 120x400 in the file, 120x256 in the"):
        create_model("lenet5_modern", input_size=28, weights=path)


def test_a_layer_may_keep_its_own_weights(tmp_path):
    own = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    kept = own[1].weight.clone()
    other = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 9))
    origin = load_weights(own, saved(tmp_path / "nine.pt", other.state_dict()), without="1")
    assert torch.equal(own[0].weight, other[0].weight)
    assert torch.equal(own[1].weight, kept)
    assert origin.missing == origin.unexpected == ("1.weight", "1.bias")
    wider = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))
    with pytest.raises(WeightsError, match=r"0\.weight is 5x4 in the file.*Give the file's own"):
        load_weights(own, saved(tmp_path / "wider.pt", wider.state_dict()), without="1")


def test_weights_that_do_not_fit_change_nothing(tmp_path):
    network = create_model("lenet5_modern")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    content = {name: tensor + 1 for name, tensor in before.items()}
    del content["fc3.bias"]
    with pytest.raises(WeightsError, match=r"Missing: fc3.bias. Give"):
        load_weights(network, saved(tmp_path / "partial.pt", content))
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in before)
    assert weights_origin(network) is None


def test_a_source_that_is_no_file_is_answered_with_the_names():
    with pytest.raises(WeightsError, match=r"'v3' is no file, and no name.*resnet50 has IMAGENE"):
        create_model("resnet50", weights="v3")
    with pytest.raises(WeightsError, match=r"IMAGENET1K_V1, IMAGENET1K_V2$"):
        create_model("resnet50", weights="v3")
    with pytest.raises(WeightsError, match=r"'v3' is no file; lenet5 has no published weights"):
        create_model("lenet5", weights="v3")
    with pytest.raises(WeightsError, match=r"'v3' is no file$"):
        load_weights(nn.Linear(1, 1), "v3")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(WeightsError, match="is a folder; give a file in it"):
        create_model("lenet5", weights=tmp_path)
