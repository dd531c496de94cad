"""ResNeXt: Xie, Girshick, Dollár, Tu and He, 2016; torchvision's modules.

Aggregated Residual Transformations for Deep Neural Networks, arXiv 1611.05431, CVPR 2017. A
bottleneck's 3x3 convolution has 32 groups, as many as the paper's parallel paths (its figure 3c).
"""

from __future__ import annotations

from functools import partial

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.registry import register_model
from eyespot.zoo.resnet import build_torchvision


def _register(name: str, *, parameter_count: int, macs: int, receptive_field: int) -> None:
    register_model(
        name,
        paper="Xie, Girshick, Dollár, Tu and He: Aggregated Residual Transformations for Deep "
        "Neural Networks, arXiv 1611.05431, CVPR 2017",
        year=2016,
        input_size=(3, 224, 224),
        min_input_size=1,
        num_classes=1000,
        parameter_count=parameter_count,
        macs=macs,
        receptive_field=receptive_field,
        departures="None; the stride is in the 3x3 convolution, as in the paper. Random "
        "residual branches begin small.",
        preprocessing=IMAGENET,
        torchvision_name=name,
    )(partial(build_torchvision, name))


_register("resnext50_32x4d", parameter_count=25_028_904, macs=4_230_479_872, receptive_field=427)
_register("resnext101_32x8d", parameter_count=88_791_336, macs=16_414_015_488, receptive_field=971)
