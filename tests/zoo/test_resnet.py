import pytest
import torch
from torch import nn

from eyespot.zoo import create_model, model_entry
from eyespot.zoo.initialisation import temper_residuals

# Table 1 of the ResNet paper: blocks by stage; convolutions of a block; billions of MACs.
RESNETS = {
    "resnet18": ([2, 2, 2, 2], 2, 1.8),
    "resnet34": ([3, 4, 6, 3], 2, 3.6),
    "resnet50_paper": ([3, 4, 6, 3], 3, 3.8),
    "resnet101_paper": ([3, 4, 23, 3], 3, 7.6),
    "resnet152_paper": ([3, 8, 36, 3], 3, 11.3),
}
STAGES = ("layer1", "layer2", "layer3", "layer4")


def on_meta(name):
    with torch.device("meta"):
        return create_model(name)


@pytest.mark.parametrize("name", RESNETS)
def test_the_blocks_of_table_1(name):
    blocks, convolutions, billions = RESNETS[name]
    network = on_meta(name)
    assert [len(network.get_submodule(stage)) for stage in STAGES] == blocks
    depth = sum(blocks) * convolutions + 2
    assert name.removesuffix("_paper") == f"resnet{depth}"
    # The paper rounds down here and up there.
    assert model_entry(name).macs == pytest.approx(billions * 1e9, abs=0.07e9)


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_the_papers_form_strides_in_the_first_1x1_and_torchvisions_in_the_3x3(depth):
    for name, strided in ((f"resnet{depth}_paper", "conv1"), (f"resnet{depth}", "conv2")):
        network = on_meta(name)
        halving = {
            layer
            for layer, module in network.named_modules()
            if isinstance(module, nn.Conv2d) and module.stride == (2, 2)
        }
        stages = STAGES[1:]
        assert halving == {
            "conv1",
            *(f"{stage}.0.{strided}" for stage in stages),
            *(f"{stage}.0.downsample.0" for stage in stages),
        }


def test_the_papers_form_takes_torchvisions_names():
    ours, theirs = on_meta("resnet50_paper"), on_meta("resnet50")
    assert {name: t.shape for name, t in ours.state_dict().items()} == {
        name: t.shape for name, t in theirs.state_dict().items()
    }


def test_the_last_map_is_of_7x7_in_both():
    for name in ("resnet50", "resnet50_paper"):
        network = on_meta(name)
        shapes = []
        network.layer4.register_forward_hook(lambda _m, _i, y: shapes.append(tuple(y.shape)))  # noqa: B023
        network(torch.empty(1, 3, 224, 224, device="meta"))
        assert shapes == [(1, 2048, 7, 7)]


def test_residual_branches_begin_smaller_the_more_there_are():
    norms = [nn.BatchNorm2d(2) for _ in range(4)]
    temper_residuals(norms)
    assert [norm.weight.tolist() for norm in norms] == [[0.5, 0.5]] * 4


@pytest.mark.parametrize(
    ("name", "blocks", "norm"), [("resnet18", 8, "bn2"), ("resnet50", 16, "bn3")]
)
def test_the_last_norm_of_every_block_is_tempered(name, blocks, norm):
    tempered = {
        layer
        for layer, module in create_model(name).named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.weight[0].item() != 1
    }
    assert len(tempered) == blocks
    assert all(layer.endswith(f".{norm}") for layer in tempered)
