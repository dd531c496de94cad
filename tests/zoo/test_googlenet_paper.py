import pytest
import torch
from torch import nn

from eyespot.zoo import ArchitectureError, create_model, load_weights, model_entry
from eyespot.zoo.googlenet_paper import GoogLeNet, TrainingLogits, training_loss


def with_heads(**shape):
    sizes = {"num_classes": 1000, "in_channels": 3, "input_size": 224, **shape}
    return GoogLeNet(**sizes, auxiliary_heads=True)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_output_sizes_of_table_1():
    with torch.device("meta"):
        network = create_model("googlenet_paper")
    shapes = {}
    for name, layer in network.named_children():
        layer.register_forward_hook(
            lambda _m, _i, output, name=name: shapes.__setitem__(name, tuple(output.shape[1:]))
        )
    network(torch.empty(1, 3, 224, 224, device="meta"))
    assert shapes["conv1"] == (64, 112, 112)
    assert shapes["conv2"] == (192, 56, 56)
    inceptions = {name[-2:]: shape for name, shape in shapes.items() if "inception" in name}
    assert inceptions == {
        "3a": (256, 28, 28),
        "3b": (480, 28, 28),
        "4a": (512, 14, 14),
        "4b": (512, 14, 14),
        "4c": (512, 14, 14),
        "4d": (528, 14, 14),
        "4e": (832, 14, 14),
        "5a": (832, 7, 7),
        "5b": (1024, 7, 7),
    }


def test_there_are_kernels_of_5x5_and_response_but_no_batch_normalisation():
    with torch.device("meta"):
        network = create_model("googlenet_paper")
    kernels = [m.kernel_size[0] for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert (kernels.count(7), kernels.count(5), kernels.count(3)) == (1, 9, 10)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    calls = []
    network.norm.register_forward_hook(lambda _m, _i, output: calls.append(output.shape[1]))
    network(torch.empty(1, 3, 224, 224, device="meta"))
    assert calls == [64, 192]


def test_the_counts_are_those_of_the_caffe_port():
    with torch.device("meta"):
        assert count(with_heads()) == 13_378_280
    assert model_entry("googlenet_paper").parameter_count == 6_998_552


def test_heads_answer_in_training_alone():
    with torch.device("meta"):
        network = with_heads(num_classes=7)
    x = torch.empty(2, 3, 224, 224, device="meta")
    outputs = network.train()(x)
    assert isinstance(outputs, TrainingLogits)
    assert [tuple(logits.shape) for logits in outputs] == [(2, 7)] * 3
    assert network.eval()(x).shape == (2, 7)


def test_a_head_sees_a_map_of_4x4():
    with torch.device("meta"):
        network = with_heads()
    assert network.aux1.fc1.in_features == network.aux2.fc1.in_features == 4 * 4 * 128
    assert (network.aux1.conv.in_channels, network.aux2.conv.in_channels) == (512, 528)


def test_the_zoo_has_no_heads_and_reads_the_files_of_those_who_do(tmp_path):
    trained = with_heads(num_classes=3, input_size=96).eval()
    torch.save(trained.state_dict(), tmp_path / "trained.pt")
    network = create_model("googlenet_paper", num_classes=3, input_size=96)
    assert not any(name.startswith("aux") for name, _ in network.named_modules() if name)
    load_weights(network, tmp_path / "trained.pt")
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(network(x), trained(x))


def test_the_loss_adds_three_tenths_of_each_head():
    even = torch.zeros(2, 4)  # a cross-entropy of log 4
    loss = training_loss(TrainingLogits(even, even, even), torch.tensor([0, 3]))
    assert loss.item() == pytest.approx(1.6 * torch.tensor(4.0).log().item())


def test_a_picture_too_small_for_the_heads_is_refused():
    with torch.device("meta"):
        smallest = with_heads(input_size=79).train()
        assert len(smallest(torch.empty(1, 3, 79, 79))) == 3
        with pytest.raises(ArchitectureError, match="at least 79, found 78"):
            with_heads(input_size=78)
