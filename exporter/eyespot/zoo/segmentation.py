"""What networks that label every pixel share: their pictures, and torchvision's way of them."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo.entry import StateDict
from eyespot.zoo.input_channels import replace_input_layer
from eyespot.zoo.torchvision_models import load_torchvision

logger = logging.getLogger(__name__)

# Twenty kinds of objects of PASCAL VOC, and what is none of them.
VOC_CLASSES = 21

# Any picture as it is: the answer has its height and width.
WHOLE_PICTURE = replace(IMAGENET, resize_size=None, crop_size=None)
# torchvision's preset for the networks that it trained.
SHORTER_SIDE_520 = replace(IMAGENET, resize_size=520, crop_size=None)

HEIGHT_AND_WIDTH = {2: "height", 3: "width"}


class SegmentationLogits(nn.Module):
    """torchvision's backbone and classifier; the logits alone, where it gives a dictionary.

    The names in its state_dict are torchvision's.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Give a score for each class and pixel, (B, C, H, W) -> (B, K, H, W)."""
        size = x.shape[-2:]
        x = self.classifier(self.backbone(x)["out"])  # -> (B, K, H/8, W/8)
        return functional.interpolate(
            x, size=size, mode="bilinear", align_corners=False
        )  # -> (B, K, H, W)


def wrap_torchvision(name: str, *, num_classes: int, in_channels: int) -> SegmentationLogits:
    """Build one of `torchvision.models.segmentation` without its auxiliary classifier."""
    builder = getattr(load_torchvision().models.segmentation, name)
    network = builder(weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=False)
    replace_input_layer(network, "backbone.conv1", in_channels)
    return SegmentationLogits(network.backbone, network.classifier)


def drop_auxiliary_classifier(state_dict: StateDict) -> StateDict:
    """Leave out the classifier that helps training alone."""
    dropped = [name for name in state_dict if name.startswith("aux_classifier.")]
    if dropped:
        logger.debug("a classifier for training alone is left out: %s", ", ".join(dropped))
    return {name: tensor for name, tensor in state_dict.items() if name not in dropped}


def crop(x: Tensor, *, first: int, height: int, width: int) -> Tensor:
    """Cut out a rectangle, `first` rows and columns from the corner, (..., H, W) -> (..., h, w).

    A slice would do the same, but a program that is captured with it holds only for some sizes.
    """
    rows = torch.arange(first, first + height, device=x.device)
    columns = torch.arange(first, first + width, device=x.device)
    return x.index_select(-2, rows).index_select(-1, columns)
