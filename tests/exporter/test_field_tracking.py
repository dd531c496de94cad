"""Receptive fields against published figures, and against gradients on tiny networks."""

import pytest
import torch
from torch import nn

from eyespot.exporter.field_tracking import FieldTracker, last_field
from eyespot.zoo import load_torchvision

# Araujo, Norris and Sim 2019, table 1, where strides sit as in torchvision; the rest from the
# same arithmetic elsewhere.
PUBLISHED = {
    "alexnet": 195,
    "vgg16": 212,
    "vgg19": 268,
    "resnet18": 435,
    "resnet34": 899,
    "resnet50": 427,
    "resnet101": 971,
    "resnet152": 1451,
    "densenet121": 2071,
    "mobilenet_v2": 491,
    "inception_v3": 1311,
}


def torchvision_on_meta(name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        return getattr(load_torchvision().models, name)(**options).eval()


def sizes(module, *shape):
    return [int(field.size) for field in last_field(module, torch.empty(1, *shape, device="meta"))]


@pytest.mark.parametrize(("name", "size"), PUBLISHED.items())
def test_the_published_receptive_field(name, size):
    side = 299 if name == "inception_v3" else 224
    assert sizes(torchvision_on_meta(name), 3, side, side) == [size, size]


@pytest.mark.parametrize(("name", "size"), [("50", 483), ("101", 1027), ("152", 1507)])
def test_residual_networks_with_the_strides_of_tf_slim(name, size):
    """There the last unit of a stage halves the map, in its 3x3; the last stage does not."""
    network = torchvision_on_meta(f"resnet{name}")
    for stage in (network.layer2, network.layer3, network.layer4):
        _set_stride(stage[0], 1)
    for stage in (network.layer1, network.layer2, network.layer3):
        _set_stride(stage[-1], 2)
        # Its shortcut is a 1x1 max pooling.
        stage[-1].downsample = nn.MaxPool2d(1, 2)
    assert sizes(network, 3, 224, 224) == [size, size]


def _set_stride(block, stride):
    block.conv2.stride = (stride, stride)
    if block.downsample is not None:
        block.downsample[0].stride = (stride, stride)


def test_two_3x3_see_5x5_and_three_see_7x7():
    """Simonyan and Zisserman 2014, section 2.3."""
    two = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)).to("meta")
    three = nn.Sequential(*two, nn.Conv2d(1, 1, 3)).to("meta")
    assert (sizes(two, 1, 9, 9), sizes(three, 1, 9, 9)) == ([5, 5], [7, 7])


def test_the_context_module_sees_67():
    """Yu and Koltun 2016, table 1."""
    layers = [nn.Conv2d(1, 1, 3, padding=d, dilation=d) for d in (1, 1, 2, 4, 8, 16, 1)]
    assert sizes(nn.Sequential(*layers, nn.Conv2d(1, 1, 1)).to("meta"), 1, 67, 67) == [67, 67]


def _seen(network, side, unit):
    """The first and the last pixel of a row that a unit really depends on."""
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    image = torch.ones(1, 1, side, side, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(image)[0, 0, unit, unit], image)
    columns = gradient[0, 0].sum(0).nonzero()
    return int(columns.min()), int(columns.max())


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(1, 1, 3, 2, 1), nn.Conv2d(1, 1, 5, 1, 2)],
        [nn.Conv2d(1, 1, 4, 2, 1), nn.AvgPool2d(3, 2), nn.Conv2d(1, 1, 2)],
        [nn.Conv2d(1, 1, 3, 1, 0, 3), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3, 1, 2, 2)],
        [nn.ZeroPad2d((3, 0, 3, 0)), nn.Conv2d(1, 1, 4)],
        [nn.Conv2d(1, 1, 3, 2, 1), nn.Conv2d(1, 1, 3, 3, 1), nn.Conv2d(1, 1, 3, 1, 1)],
        [nn.PixelUnshuffle(2), nn.Conv2d(4, 1, 3)],
    ],
)
def test_size_stride_and_offset_are_those_of_the_gradients(layers):
    network, side = nn.Sequential(*layers), 60
    (_, field) = last_field(network.eval(), torch.zeros(1, 1, side, side))
    for unit in (3, 4):
        first, last = _seen(network, side, unit)
        assert first == field.offset + unit * field.stride
        assert last - first + 1 == field.size


def _output_field(network, side):
    tracker, image = FieldTracker(), torch.zeros(1, 1, side, side)
    tracker.begin(image)
    with torch.no_grad(), tracker:
        return tracker.axes_of(network(image))[3]


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(1, 1, 3, 2, 1), nn.ConvTranspose2d(1, 1, 4, 2, 1)],
        [nn.ConvTranspose2d(1, 1, 3, 2, 1)],
        [nn.ConvTranspose2d(1, 1, 3, 1, 0, dilation=2)],
        [nn.ConvTranspose2d(1, 1, 3, 2, 1), nn.Conv2d(1, 1, 3, 1, 1)],
        [nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear")],
        [nn.AvgPool2d(4), nn.Upsample(scale_factor=4, mode="nearest")],
    ],
)
def test_where_units_differ_the_size_is_the_largest(layers):
    network, side = nn.Sequential(*layers).eval(), 24
    field = _output_field(network, side)
    spans = [_seen(network, side, unit) for unit in range(8, 16)]
    assert max(last - first + 1 for first, last in spans) == field.size
    # On average a unit sees around the centre that is told.
    middles = [(first + last) / 2 for first, last in spans]
    told = [float(field.centre + unit * field.stride) for unit in range(8, 16)]
    assert sum(middles) / 8 == pytest.approx(sum(told) / 8, abs=0.5)


def test_behind_what_upsamples_the_size_is_a_bound():
    network = nn.Sequential(nn.ConvTranspose2d(1, 1, 5, 3), nn.Conv2d(1, 1, 3, 3))
    field = _output_field(network, 24)
    spans = [_seen(network, 24, unit) for unit in range(8, 16)]
    assert max(last - first + 1 for first, last in spans) <= field.size < 3


class _Paths(nn.Module):
    def __init__(self, *paths, join=torch.add):
        super().__init__()
        self.paths = nn.ModuleList(paths)
        self.join = join

    def forward(self, x):
        return self.join(*(path(x) for path in self.paths))


def _told(module, *shape):
    notes = []
    tracker = FieldTracker(notes.append)
    image = torch.empty(1, *shape, device="meta")
    tracker.begin(image)
    with torch.no_grad(), tracker:
        output = module.to("meta")(image)
    return tracker, output, notes


def test_where_paths_meet_the_largest_counts():
    tracker, output, notes = _told(
        _Paths(nn.Conv2d(1, 1, 3, 1, 1), nn.Conv2d(1, 1, 7, 1, 3)), 1, 9, 9
    )
    assert [field.size for field in tracker.axes_of(output)[2:]] == [7, 7]
    assert notes == []


def test_paths_that_do_not_meet_centre_on_centre_are_told():
    shifted = nn.Sequential(nn.ZeroPad2d((2, 0, 2, 0)), nn.Conv2d(1, 1, 3))
    _, _, notes = _told(_Paths(nn.Identity(), shifted), 1, 9, 9)
    assert set(notes) == {"joins paths whose fields have different centres"}


def test_paths_of_different_strides_are_told():
    coarse = nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), nn.ZeroPad2d((0, 4, 0, 4)))
    _, _, notes = _told(_Paths(nn.Identity(), coarse), 1, 9, 9)
    assert set(notes) == {"joins paths of different strides"}


def test_a_gate_of_the_whole_image_is_told_and_keeps_the_field():
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 1, 1), nn.Sigmoid())
    tracker, output, notes = _told(_Paths(nn.Conv2d(1, 1, 3, 1, 1), gate, join=torch.mul), 1, 9, 9)
    assert [field.size for field in tracker.axes_of(output)[2:]] == [3, 3]
    assert notes == ["depends on the whole input as well"]


def test_an_operator_without_a_rule_is_named_and_raises_nothing():
    class Sums(nn.Module):
        def forward(self, x):
            return torch.cumsum(nn.functional.relu(x), dim=2) * 2

    tracker, output, _ = _told(Sums(), 1, 9, 9)
    assert tracker.lost_at(output) == "cumsum"
    assert tracker.axes_of(output) == (None,) * 4


def test_channels_that_are_shuffled_or_moved_leave_the_field_alone():
    shuffled = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ChannelShuffle(2), nn.Conv2d(4, 1, 3))
    assert sizes(shuffled.to("meta"), 1, 9, 9) == [5, 5]

    class Viewed(nn.Module):
        def forward(self, x):  # (1, 4, 9, 9)
            rows, _, height, width = x.shape
            x = nn.functional.avg_pool2d(x, 3, 1)
            x = x.view(rows, 2, 2, height - 2, width - 2).transpose(1, 2).reshape(x.shape)
            return x.permute(0, 2, 3, 1).contiguous()

    tracker, output, _ = _told(Viewed(), 4, 9, 9)
    assert [field and field.size for field in tracker.axes_of(output)] == [None, 3, 3, None]


def test_the_last_map_is_the_one_before_the_network_upsamples():
    decoder = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(1, 1, 3))
    network = nn.Sequential(nn.Conv2d(1, 1, 3, 2), nn.Conv2d(1, 1, 3), decoder)
    assert sizes(network.to("meta"), 1, 33, 33) == [7, 7]


def test_signals_have_fields_too():
    causal = [
        layer
        for d in (1, 2, 4, 8)
        for layer in (nn.ConstantPad1d((d, 0), 0.0), nn.Conv1d(1, 1, 2, dilation=d))
    ]
    (field,) = last_field(nn.Sequential(*causal), torch.zeros(1, 1, 32))
    # WaveNet's formula, 1 + the sum of (k - 1)d; nothing of the future.
    assert (field.size, field.offset) == (16, -15)


def test_what_has_no_positions_has_no_field():
    assert last_field(nn.Linear(4, 2), torch.zeros(1, 4)) == ()
