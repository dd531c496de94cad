"""Inception-v3: Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, 2015; torchvision's module.

Rethinking the Inception Architecture for Computer Vision, arXiv 1512.00567, CVPR 2016.
"""

from __future__ import annotations

from torch import nn

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo.entry import StateDict
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.input_channels import replace_input_layer
from eyespot.zoo.registry import register_model
from eyespot.zoo.torchvision_models import load_torchvision

# As torchvision publishes its weights: normalised for ImageNet, and once more inside the network.
IMAGENET_299 = PreprocessingRule(
    resize_size=342,
    crop_size=(299, 299),
    interpolation="bilinear",
    color_order="RGB",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def drop_auxiliary_head(state_dict: StateDict) -> StateDict:
    """Leave out the classifier that helps training alone."""
    return {
        name: tensor for name, tensor in state_dict.items() if not name.startswith("AuxLogits.")
    }


@register_model(
    "inception_v3",
    paper="Szegedy, Vanhoucke, Ioffe, Shlens and Wojna: Rethinking the Inception Architecture "
    "for Computer Vision, arXiv 1512.00567, CVPR 2016",
    year=2015,
    input_size=(3, 299, 299),
    min_input_size=75,
    num_classes=1000,
    parameter_count=23_834_568,
    macs=5_713_216_096,
    receptive_field=1311,
    departures="The network that the authors released rather than the paper's table 1: a 1x1 "
    "convolution to 80 channels and a second max pooling in the stem, 5x5 kernels in the blocks "
    "of 35x35 maps; without the auxiliary head, which serves training alone; random weights after "
    "He et al. 2015.",
    preprocessing=IMAGENET_299,
    torchvision_name="inception_v3",
    adapt_state_dict=drop_auxiliary_head,
)
def inception_v3(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build Inception-v3; its pooling takes any `input_size` from 75 on.

    `transform_input` is off; `load_weights` turns it on for the weights that need it.
    """
    network: nn.Module = load_torchvision().models.inception_v3(
        num_classes=num_classes, aux_logits=False, transform_input=False, init_weights=False
    )
    replace_input_layer(network, "Conv2d_1a_3x3.conv", in_channels)
    initialise(network)
    return network
