import pytest
import torch
from torch import nn
from torch.nn import functional

from eyespot.zoo import create_model
from eyespot.zoo.preact_resnet import BasicUnit, BottleneckUnit


def on_meta(name):
    with torch.device("meta"):
        return create_model(name)


def test_nothing_is_done_to_the_sum():
    unit = BasicUnit(3, 3, stride=1).eval()
    nn.init.zeros_(unit.conv2.weight)
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(unit(x), x)


@pytest.mark.parametrize("unit", [BasicUnit, BottleneckUnit])
def test_a_shortcut_that_changes_the_shape_sees_what_the_branch_sees(unit):
    torch.manual_seed(0)
    unit = unit(3, 4, stride=2).eval()
    nn.init.zeros_(unit.last.weight)
    x = torch.randn(1, 3, 6, 6)
    activated = functional.relu(unit.bn1(x))
    assert torch.equal(unit(x), unit.shortcut(activated))
    assert unit.shortcut(activated).shape == (1, 4 * unit.expansion, 3, 3)


def test_164_layers_in_bottlenecks_of_three():
    network = on_meta("preact_resnet164")
    convolutions = {
        name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)
    }
    in_branches = [name for name in convolutions if "shortcut" not in name]
    assert len(in_branches) + 1 == 164  # and the linear layer
    assert {name for name in convolutions if "shortcut" in name} == {
        f"layer{stage}.0.shortcut" for stage in (1, 2, 3)
    }
    assert {name for name, module in convolutions.items() if module.stride == (2, 2)} == {
        f"layer{stage}.0.{part}" for stage in (2, 3) for part in ("conv1", "shortcut")
    }


def test_18_layers_with_the_stem_of_imagenet():
    network = on_meta("preact_resnet18")
    in_branches = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and "shortcut" not in name
    ]
    assert len(in_branches) + 1 == 18
    # Behind the stem it is activated already: appendix A.
    assert network.layer1[0].bn1 is None
    assert network.layer1[1].bn1 is not None


def test_the_count_of_18_is_resnets_but_for_the_normalisations():
    # A ResNet-18 has 4,800 normalised channels; here are those before each convolution.
    normalised = 64 + (64 + 2 * 64) + (64 + 3 * 128) + (128 + 3 * 256) + (256 + 3 * 512) + 512
    network = on_meta("preact_resnet18")
    assert sum(p.numel() for p in network.parameters()) == 11_689_512 + 2 * (normalised - 4_800)


@pytest.mark.parametrize("name", ["preact_resnet18", "preact_resnet164"])
def test_the_last_sum_is_activated_before_it_is_averaged(name):
    torch.manual_seed(0)
    network = create_model(name)
    means = []
    network.fc.register_forward_pre_hook(lambda _m, inputs: means.append(inputs[0]))
    network(torch.randn(2, 3, 32, 32))
    assert (means[0] >= 0).all()
    assert means[0].std() > 0
