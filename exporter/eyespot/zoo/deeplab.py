"""DeepLab: Chen, Papandreou, Kokkinos, Murphy and Yuille, 2014; its third version of 2017.

Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs, arXiv
1412.7062, ICLR 2015, from the paper, in its variant LargeFOV. Chen, Papandreou, Schroff and Adam:
Rethinking Atrous Convolution for Semantic Image Segmentation, arXiv 1706.05587; torchvision's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from eyespot.zoo.initialisation import initialise
from eyespot.zoo.registry import register_model
from eyespot.zoo.segmentation import (
    HEIGHT_AND_WIDTH,
    SHORTER_SIDE_520,
    VOC_CLASSES,
    WHOLE_PICTURE,
    drop_auxiliary_classifier,
    wrap_torchvision,
)
from eyespot.zoo.vgg_trunk import VggTrunk

_FC6_RATE = 12
_FULL_WIDTH = 1024  # a quarter of VGG-16's: the paper finds no loss in it


class DeepLabV1(VggTrunk):
    """VGG-16 of stride 8, and a sparse 3x3 kernel in place of the first full layer."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        # pool4 has lost its stride: what comes after it looks at every other row.
        super().__init__(in_channels, dilations=(1, 1, 1, 1, 2), is_padded=True)
        self.fc6 = nn.Conv2d(
            self.stage_channels[4], _FULL_WIDTH, 3, padding=_FC6_RATE, dilation=_FC6_RATE
        )
        self.drop6 = nn.Dropout()
        self.fc7 = nn.Conv2d(_FULL_WIDTH, _FULL_WIDTH, 1)
        self.drop7 = nn.Dropout()
        self.fc8 = nn.Conv2d(_FULL_WIDTH, num_classes, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give a score for each class and pixel, (B, C, H, W) -> (B, K, H, W)."""
        size = x.shape[-2:]
        for stage, stride in enumerate((2, 2, 2, 1, 1), start=1):
            x = self.run_stage(stage, x)
            # (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))
            x = functional.max_pool2d(x, 3, stride=stride, padding=1)
        x = functional.relu(self.fc6(x))  # -> (B, 1024, H/8, W/8)
        x = functional.relu(self.fc7(self.drop6(x)))
        x = self.fc8(self.drop7(x))  # -> (B, K, H/8, W/8)
        # The middle of the first cell is the first pixel: corners lie upon corners.
        return functional.interpolate(
            x, size=size, mode="bilinear", align_corners=True
        )  # -> (B, K, H, W)


@register_model(
    "deeplab_v1_vgg16",
    paper="Chen et al.: Semantic Image Segmentation with Deep "
    "Convolutional Nets and Fully Connected CRFs, arXiv 1412.7062, ICLR 2015",
    year=2014,
    input_size=(3, 321, 321),
    min_input_size=9,
    num_classes=VOC_CLASSES,
    parameter_count=20_505_429,
    macs=50_928_085_696,
    receptive_field=419,
    task="segmentation",
    dynamic_axes=HEIGHT_AND_WIDTH,
    departures="The variant LargeFOV. The paper's second step, a fully connected conditional "
    "random field that sharpens the edges of these scores, is absent: no library that Eyespot "
    "depends on has it. Pooling windows are 3x3 with a margin of one, as in the authors' files. "
    "Random weights after He et al. 2015 where the paper takes VGG-16's; pixels are normalised "
    "as torchvision's are.",
    preprocessing=WHOLE_PICTURE,
)
def deeplab_v1_vgg16(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build DeepLab-LargeFOV without its random field."""
    return DeepLabV1(num_classes=num_classes, in_channels=in_channels)


@register_model(
    "deeplab_v3_resnet50",
    paper="Chen et al.: Rethinking Atrous Convolution for Semantic Image "
    "Segmentation, arXiv 1706.05587, 2017",
    year=2017,
    input_size=(3, 224, 224),
    min_input_size=9,
    num_classes=VOC_CLASSES,
    parameter_count=39_638_869,
    macs=31_310_548_992,
    receptive_field=None,
    task="segmentation",
    dynamic_axes=HEIGHT_AND_WIDTH,
    departures="torchvision's: stride 8 with rates 12, 24 and 36 in training as well, where the "
    "paper trains at stride 16; no multi-grid in the last stage; one more 3x3 convolution before "
    "the scores; dropout of 50 % after the pyramid; ResNet-50 strides in its 3x3 convolutions; "
    "without the auxiliary classifier, which serves training alone. The receptive field is not "
    "defined: one branch of the pyramid sees the whole picture.",
    preprocessing=SHORTER_SIDE_520,
    torchvision_name="deeplabv3_resnet50",
    adapt_state_dict=drop_auxiliary_classifier,
)
def deeplab_v3_resnet50(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build torchvision's network, of stride 8."""
    return wrap_torchvision("deeplabv3_resnet50", num_classes=num_classes, in_channels=in_channels)
