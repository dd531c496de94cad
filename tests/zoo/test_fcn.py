"""FCN against its paper, and its transposed convolutions against PyTorch's interpolation."""

import pytest
import torch
from tests.zoo.narrow_vgg import measured_field, narrow, open_up
from torch.nn import functional

from eyespot.zoo import create_model, fcn, load_torchvision, model_entry, weights_origin
from eyespot.zoo.fcn import FCN, bilinear_kernel

STRIDES = [32, 16, 8]


@pytest.fixture(autouse=True)
def few_channels(monkeypatch):
    narrow(monkeypatch)
    monkeypatch.setattr(fcn, "_FULL_WIDTH", 4)


def on_meta(name):
    with torch.device("meta"):
        return create_model(name)


@pytest.mark.parametrize("stride", [2, 8, 16, 32])
def test_transposed_convolutions_interpolate(stride):
    maps = torch.randn(2, 3, 4, 5)
    grown = functional.conv_transpose2d(
        maps, bilinear_kernel(3, stride=stride), stride=stride, padding=stride // 2
    )
    expected = functional.interpolate(maps, scale_factor=stride, mode="bilinear")
    assert grown.shape == expected.shape
    # Half a cell from the edge there is no second neighbour: zeros there, copies here.
    inner = slice(stride // 2, -(stride // 2))
    torch.testing.assert_close(
        grown[:, :, inner, inner], expected[:, :, inner, inner], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("stride", "upsamplings"),
    [
        (32, {"upscore": 32}),
        (16, {"upscore2": 2, "upscore16": 16}),
        (8, {"upscore2": 2, "upscore_pool4": 2, "upscore8": 8}),
    ],
)
def test_upsamplings_begin_bilinear_and_the_last_remains_so(stride, upsamplings):
    network = FCN(stride, num_classes=5, in_channels=3)
    found = {n: m for n, m in network.named_children() if isinstance(m, torch.nn.ConvTranspose2d)}
    assert set(found) == set(upsamplings)
    for name, factor in upsamplings.items():
        layer = found[name]
        assert torch.equal(layer.weight, bilinear_kernel(5, stride=factor))
        assert layer.stride == (factor, factor)
        assert layer.bias is None
        assert layer.weight.requires_grad == (name != f"upscore{stride}" and name != "upscore")


@pytest.mark.parametrize("stride", STRIDES)
def test_scores_lie_upon_the_pixels_that_they_are_about(stride):
    # 58 + 2 * 99 is a multiple of 32: no edge is pooled with nothing, and a mirrored picture has
    # the mirrored scores, unless a crop is off by a pixel.
    network = open_up(FCN(stride, num_classes=2, in_channels=1))
    image = torch.randn(1, 1, 58, 58, dtype=torch.float64)
    scores = network(image)
    assert scores.shape == (1, 2, 58, 58)
    assert scores.std() > 0
    torch.testing.assert_close(network(image.flip(2, 3)), scores.flip(2, 3))


@pytest.mark.parametrize("size", [(27, 33), (64, 47)])
def test_pools_are_caffes_at_odd_edges_too(size):
    network = FCN(8, num_classes=3, in_channels=3).eval()
    images = torch.randn(2, 3, *size)
    x = functional.pad(images, (99, 99, 99, 99))
    for stage, pooled in enumerate(network._pools(images), start=1):
        x = functional.max_pool2d(network.run_stage(stage, x), 2, ceil_mode=True)
        assert torch.equal(pooled, x)


def test_the_receptive_field_is_that_of_table_1(monkeypatch):
    network = open_up(FCN(32, num_classes=2, in_channels=1))
    field = measured_field(network, network.score_fr, size=520, monkeypatch=monkeypatch)
    assert field == 404
    for name in ("fcn32s", "fcn16s", "fcn8s"):
        assert model_entry(name).receptive_field == 404


def test_parameters_are_those_of_vgg16_and_the_scores():
    # VGG-16 without its last layer: 138,357,544 - 4,097 * 1,000.
    vgg = 138_357_544 - 4_097_000
    for name, more in [("fcn32s", 0), ("fcn16s", 513 * 21), ("fcn8s", (513 + 257) * 21)]:
        learned_upsamplings = {"fcn32s": 0, "fcn16s": 1, "fcn8s": 2}[name] * 21 * 21 * 4 * 4
        expected = vgg + 4_097 * 21 + more + learned_upsamplings
        assert model_entry(name).parameter_count == expected
    assert round(model_entry("fcn32s").parameter_count / 1e6) == 134  # table 1


def test_names_are_those_of_the_circulating_files():
    names = set(FCN(8, num_classes=2, in_channels=3).state_dict())
    assert {"conv1_1.weight", "conv5_3.bias", "fc6.weight", "fc7.bias", "score_fr.weight"} <= names
    assert {"upscore2.weight", "score_pool4.bias", "upscore_pool4.weight"} <= names
    assert {"score_pool3.weight", "upscore8.weight"} <= names
    assert len(names) == 2 * (13 + 2 + 3) + 3


def test_random_weights_answer_to_their_input(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(fcn, "_FULL_WIDTH", 64)
    torch.manual_seed(0)
    network = FCN(8, num_classes=3, in_channels=3).eval()
    with torch.no_grad():
        first, second = (network(torch.randn(1, 3, 40, 52)) for _ in range(2))
    assert 1e-2 < first.std() < 1e2
    assert (first - second).abs().mean() > 1e-2 * first.std()


# torchvision's: both of its networks are wrapped in the same way.
WRAPPED = {"fcn_resnet50": "fcn_resnet50", "deeplab_v3_resnet50": "deeplabv3_resnet50"}


def theirs(name, **options):
    builder = getattr(load_torchvision().models.segmentation, WRAPPED[name])
    return builder(weights=None, weights_backbone=None, num_classes=5, **options).eval()


@pytest.mark.parametrize("name", WRAPPED)
def test_torchvisions_weights_load_and_give_its_logits(tmp_path, name):
    reference = theirs(name, aux_loss=True)
    # As a file that torchvision publishes: with the classifier that helps training alone.
    torch.save(reference.state_dict(), tmp_path / "coco.pth")
    network = create_model(name, num_classes=5, weights=tmp_path / "coco.pth")
    assert weights_origin(network).source == "coco.pth"
    images = torch.randn(1, 3, 33, 50)
    with torch.no_grad():
        assert torch.equal(network(images), reference(images)["out"])


@pytest.mark.parametrize("name", WRAPPED)
def test_the_parameters_are_those_of_torchvisions_documentation(name):
    load_torchvision()
    weights = load_torchvision().models.get_model_weights(WRAPPED[name]).DEFAULT
    # Its count has the auxiliary classifier: 3x3 from 1024 to 256, a norm, and 21 scores.
    auxiliary = 9 * 1024 * 256 + 2 * 256 + 257 * 21
    assert model_entry(name).parameter_count == weights.meta["num_params"] - auxiliary


def test_a_grey_picture_changes_the_first_convolution_alone():
    with torch.device("meta"):
        network = create_model("fcn_resnet50", in_channels=1)
    assert network.backbone.conv1.weight.shape == (64, 1, 7, 7)
    assert tuple(network(torch.empty(1, 1, 40, 41, device="meta")).shape) == (1, 21, 40, 41)


def test_the_field_of_the_dilated_resnet_by_arithmetic():
    network = on_meta("fcn_resnet50")
    field, jump = 1, 1
    for name, layer in [*network.backbone.named_modules(), *network.classifier.named_modules()]:
        if isinstance(layer, torch.nn.Conv2d | torch.nn.MaxPool2d) and "downsample" not in name:
            kernel, stride, dilation = (
                value if isinstance(value, int) else value[0]
                for value in (layer.kernel_size, layer.stride, layer.dilation)
            )
            field += (kernel - 1) * dilation * jump
            jump *= stride
    assert (field, jump) == (model_entry("fcn_resnet50").receptive_field, 8)
