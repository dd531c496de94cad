"""AlexNet: Krizhevsky, Sutskever and Hinton, 2012; torchvision's module.

ImageNet Classification with Deep Convolutional Neural Networks, NeurIPS 2012.
"""

from __future__ import annotations

from torch import nn

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.input_channels import replace_input_layer
from eyespot.zoo.registry import register_model
from eyespot.zoo.torchvision_models import load_torchvision


@register_model(
    "alexnet",
    paper="Krizhevsky, Sutskever and Hinton: ImageNet Classification with Deep Convolutional "
    "Neural Networks, NeurIPS 2012",
    year=2012,
    input_size=(3, 224, 224),
    min_input_size=63,
    num_classes=1000,
    parameter_count=61_100_840,
    macs=714_188_480,
    receptive_field=195,
    departures="The single tower of Krizhevsky 2014 (arXiv 1404.5997): 64, 192, 384, 256 and 256 "
    "filters and no groups for two GPUs; no local response normalisation; average pooling to 6x6 "
    "before the classifier, which changes nothing at 224x224.",
    preprocessing=IMAGENET,
    torchvision_name="alexnet",
)
def alexnet(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build AlexNet; its pooling takes any `input_size` from 63 on."""
    network: nn.Module = load_torchvision().models.alexnet(num_classes=num_classes)
    replace_input_layer(network, "features.0", in_channels)
    return network
