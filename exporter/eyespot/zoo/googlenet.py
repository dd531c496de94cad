"""GoogLeNet: Szegedy et al., 2014; torchvision's module.

Going Deeper with Convolutions, arXiv 1409.4842, CVPR 2015.
"""

from __future__ import annotations

import logging

from torch import nn

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.entry import StateDict
from eyespot.zoo.initialisation import initialise
from eyespot.zoo.input_channels import replace_input_layer
from eyespot.zoo.registry import register_model
from eyespot.zoo.torchvision_models import load_torchvision

logger = logging.getLogger(__name__)

PAPER = "Szegedy et al.: Going Deeper with Convolutions, arXiv 1409.4842, CVPR 2015"


def drop_auxiliary_heads(state_dict: StateDict) -> StateDict:
    """Leave out the two classifiers that help training alone."""
    dropped = [name for name in state_dict if name.startswith(("aux1.", "aux2."))]
    if dropped:
        logger.debug("heads for training alone are left out: %s", ", ".join(dropped))
    return {name: tensor for name, tensor in state_dict.items() if name not in dropped}


@register_model(
    "googlenet",
    paper=PAPER,
    year=2014,
    input_size=(3, 224, 224),
    min_input_size=15,
    num_classes=1000,
    parameter_count=6_624_904,
    macs=1_498_376_192,
    receptive_field=379,
    departures="Batch normalisation after every convolution, and no local response normalisation; "
    "3x3 kernels where the paper has 5x5 (torchvision issue 906); without the auxiliary heads, "
    "which serve training alone; dropout of 20 % for 40 %; random weights after He et al. 2015.",
    preprocessing=IMAGENET,
    torchvision_name="googlenet",
    adapt_state_dict=drop_auxiliary_heads,
)
def googlenet(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build GoogLeNet; its pooling takes any `input_size` from 15 on.

    `transform_input` is off; `load_weights` turns it on for the weights that need it.
    """
    network: nn.Module = load_torchvision().models.googlenet(
        num_classes=num_classes, aux_logits=False, transform_input=False, init_weights=False
    )
    replace_input_layer(network, "conv1.conv", in_channels)
    initialise(network)
    return network
