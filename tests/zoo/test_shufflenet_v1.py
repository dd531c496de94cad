import pytest
import torch

from eyespot.zoo import create_model, model_entry
from eyespot.zoo.shufflenet_v1 import ChannelShuffle, ShuffleUnit

# Table 1 of the paper: by groups, the channels of stages 2 to 4, and the complexity in millions.
TABLE_1 = {
    1: ((144, 288, 576), 143),
    2: ((200, 400, 800), 140),
    3: ((240, 480, 960), 137),
    4: ((272, 544, 1088), 133),
    8: ((384, 768, 1536), 137),
}
# Of another implementation, pytorchcv.
PARAMETER_COUNTS = {1: 1_531_936, 2: 1_733_848, 3: 1_865_728, 4: 1_968_344, 8: 2_434_768}


def shuffled(groups, channels):
    x = torch.arange(float(channels)).view(1, channels, 1, 1).expand(2, channels, 3, 2)
    y = ChannelShuffle(groups)(x)
    assert y.shape == x.shape
    order = y[0, :, 0, 0]
    assert torch.equal(y, order.view(1, -1, 1, 1).expand_as(y))  # pixels and rows stay
    return order.tolist()


def test_channels_are_dealt_out_to_all_groups():
    assert shuffled(2, 6) == [0, 3, 1, 4, 2, 5]
    assert shuffled(3, 6) == [0, 2, 4, 1, 3, 5]
    assert shuffled(1, 4) == [0, 1, 2, 3]


def unit(in_channels, out_channels, **options):
    torch.manual_seed(0)
    return ShuffleUnit(in_channels, out_channels, **options).eval()


def heard_channels(module, x):
    """Which input channels each output channel depends on."""
    x.requires_grad_()
    y = module(x)
    gradients = [
        torch.autograd.grad(y[:, c].sum(), x, retain_graph=True)[0] for c in range(y.shape[1])
    ]
    return torch.stack([g.abs().sum((0, 2, 3)) > 0 for g in gradients])


def test_the_shuffle_lets_every_group_hear_of_all_channels():
    x = torch.rand(1, 16, 4, 4) + 1
    grouped = unit(16, 16, stride=1, groups=2, first_groups=2)
    for layer in (grouped.compress, grouped.depthwise, grouped.expand):
        torch.nn.init.constant_(layer.weight, 0.1)  # all rectifiers are open
    assert heard_channels(grouped, x).all()
    grouped.shuffle = torch.nn.Identity()
    half = torch.arange(16) < 8
    assert torch.equal(heard_channels(grouped, x), half[:, None] == half[None, :])


def test_a_unit_without_branch_is_its_rectified_shortcut():
    x = torch.randn(2, 8, 6, 6)
    same = unit(8, 8, stride=1, groups=2, first_groups=2)
    half = unit(8, 24, stride=2, groups=2, first_groups=1)
    for module in (same, half):
        torch.nn.init.zeros_(module.expand.weight)
    assert torch.equal(same(x), x.clamp(min=0))
    y = half(x)
    assert y.shape == (2, 24, 3, 3)
    assert not y[:, 8:].any()
    # Away from the border, the mean of 3x3 pixels around each second one.
    expected = x[:, :, 1:4, 1:4].mean((2, 3)).clamp(min=0)
    torch.testing.assert_close(y[:, :8, 1, 1], expected)


@pytest.mark.parametrize("groups", TABLE_1)
def test_the_network_is_that_of_table_1(groups):
    channels, megaflops = TABLE_1[groups]
    name = f"shufflenet_v1_g{groups}"
    with torch.device("meta"):
        network = create_model(name)
    stages = (network.stage2, network.stage3, network.stage4)
    assert [len(stage) for stage in stages] == [4, 8, 4]
    shapes = []
    for stage in stages:
        stage.register_forward_hook(lambda _m, _i, output: shapes.append(tuple(output.shape[1:])))
    network(torch.empty(1, 3, 224, 224, device="meta"))
    assert shapes == [(c, side, side) for c, side in zip(channels, (28, 14, 7), strict=True)]
    # The paper counts the convolutions alone.
    linear = channels[-1] * 1000
    assert round((model_entry(name).macs - linear) / 1e6) == megaflops
    assert model_entry(name).parameter_count == PARAMETER_COUNTS[groups]


def test_the_first_convolution_of_stage_2_alone_has_no_groups():
    with torch.device("meta"):
        network = create_model("shufflenet_v1_g4")
    units = [*network.stage2, *network.stage3, *network.stage4]
    assert [unit.compress.groups for unit in units] == [1] + [4] * 15
    assert {unit.expand.groups for unit in units} == {4}
    assert all(unit.depthwise.groups == unit.depthwise.in_channels for unit in units)
