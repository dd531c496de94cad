"""Residual networks for ImageNet: He, Zhang, Ren and Sun, 2015; torchvision's modules.

Deep Residual Learning for Image Recognition, arXiv 1512.03385, CVPR 2016. torchvision strides in
the 3x3 convolution of a bottleneck; `resnet50_paper` and its like stride in the first 1x1, as the
paper does. Both have the same names and shapes of weights.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.entry import Builder
from eyespot.zoo.initialisation import temper_residuals
from eyespot.zoo.input_channels import replace_input_layer
from eyespot.zoo.registry import register_model
from eyespot.zoo.torchvision_models import load_torchvision

PAPER = (
    "He, Zhang, Ren and Sun: Deep Residual Learning for Image Recognition, "
    "arXiv 1512.03385, CVPR 2016"
)
_OPTION_B = "shortcuts are of the paper's option B"
_NEARLY_NONE = f"None; {_OPTION_B}; random residual branches begin small."
_STRIDES = (
    "A bottleneck's stride is in its 3x3 convolution, not in its first 1x1 "
    f'("ResNet v1.5"); {_OPTION_B}; random residual branches begin small.'
)


def build_torchvision(
    torchvision_name: str, *, num_classes: int, in_channels: int, input_size: int
) -> nn.Module:
    """Build one of torchvision's residual networks; its pooling takes any `input_size`."""
    builder = getattr(load_torchvision().models, torchvision_name)
    network: nn.Module = builder(num_classes=num_classes)
    replace_input_layer(network, "conv1", in_channels)
    blocks = [block for stage in _stages(network) for block in stage.children()]
    last_norm = "bn3" if hasattr(blocks[0], "bn3") else "bn2"
    temper_residuals([block.get_submodule(last_norm) for block in blocks])
    return network


def _build_paper(
    torchvision_name: str, *, num_classes: int, in_channels: int, input_size: int
) -> nn.Module:
    """Build the paper's bottlenecks, which leave out pixels before the 3x3 convolution."""
    network = build_torchvision(
        torchvision_name, num_classes=num_classes, in_channels=in_channels, input_size=input_size
    )
    for stage in _stages(network):
        first = stage.get_submodule("0")
        reducing, spatial = first.get_submodule("conv1"), first.get_submodule("conv2")
        reducing.stride, spatial.stride = spatial.stride, reducing.stride
    return network


def _stages(network: nn.Module) -> list[nn.Module]:
    return [network.get_submodule(f"layer{stage}") for stage in (1, 2, 3, 4)]


def _register(
    name: str,
    builder: Builder,
    *,
    parameter_count: int,
    macs: int,
    receptive_field: int,
    departures: str = _NEARLY_NONE,
    torchvision_name: str | None = None,
) -> None:
    register_model(
        name,
        paper=PAPER,
        year=2015,
        input_size=(3, 224, 224),
        min_input_size=1,
        num_classes=1000,
        parameter_count=parameter_count,
        macs=macs,
        receptive_field=receptive_field,
        departures=departures,
        preprocessing=IMAGENET,
        torchvision_name=torchvision_name,
    )(builder)


_register(
    "resnet18",
    partial(build_torchvision, "resnet18"),
    parameter_count=11_689_512,
    macs=1_814_073_344,
    receptive_field=435,
    torchvision_name="resnet18",
)
_register(
    "resnet34",
    partial(build_torchvision, "resnet34"),
    parameter_count=21_797_672,
    macs=3_663_761_408,
    receptive_field=899,
    torchvision_name="resnet34",
)
_register(
    "resnet50",
    partial(build_torchvision, "resnet50"),
    parameter_count=25_557_032,
    macs=4_089_184_256,
    receptive_field=427,
    departures=_STRIDES,
    torchvision_name="resnet50",
)
_register(
    "resnet101",
    partial(build_torchvision, "resnet101"),
    parameter_count=44_549_160,
    macs=7_801_405_440,
    receptive_field=971,
    departures=_STRIDES,
    torchvision_name="resnet101",
)
_register(
    "resnet152",
    partial(build_torchvision, "resnet152"),
    parameter_count=60_192_808,
    macs=11_513_626_624,
    receptive_field=1451,
    departures=_STRIDES,
    torchvision_name="resnet152",
)
_register(
    "resnet50_paper",
    partial(_build_paper, "resnet50"),
    parameter_count=25_557_032,
    macs=3_857_973_248,
    receptive_field=483,
)
_register(
    "resnet101_paper",
    partial(_build_paper, "resnet101"),
    parameter_count=44_549_160,
    macs=7_570_194_432,
    receptive_field=1027,
)
_register(
    "resnet152_paper",
    partial(_build_paper, "resnet152"),
    parameter_count=60_192_808,
    macs=11_282_415_616,
    receptive_field=1507,
)
