"""Weights that torchvision publishes: their names, their files, and the preprocessing they need."""

from __future__ import annotations

import http.client
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo.entry import ModelEntry
from eyespot.zoo.errors import WeightsError
from eyespot.zoo.torchvision_models import load_torchvision

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedWeights:
    """One file of weights that torchvision publishes for an architecture.

    Attributes:
        name: As torchvision names it: "IMAGENET1K_V2".
        architecture: The network that it fits.
        url: Where it is.
        sha256_prefix: The beginning of its SHA-256, which its file name carries.
        preprocessing: What it was trained and measured with.
    """

    name: str
    architecture: str
    url: str
    sha256_prefix: str
    preprocessing: PreprocessingRule = field(repr=False)


def published_weights(entry: ModelEntry) -> list[PublishedWeights]:
    """List what is published for a network; nothing for one that torchvision has not."""
    if entry.torchvision_name is None:
        return []
    weights = load_torchvision().models.get_model_weights(entry.torchvision_name)
    # A nested enumeration's aliases (DEFAULT) are left out by iterating.
    return [_describe(entry, member) for member in weights]


def find_published(entry: ModelEntry, name: str) -> PublishedWeights | None:
    """Find by name: "IMAGENET1K_V1", "ResNet50_Weights.IMAGENET1K_V1" or "DEFAULT"."""
    if entry.torchvision_name is None:
        return None
    weights = load_torchvision().models.get_model_weights(entry.torchvision_name)
    member = weights.__members__.get(name.removeprefix(f"{weights.__name__}."))
    return None if member is None else _describe(entry, member)


def identify_file(entry: ModelEntry, sha256: str) -> PublishedWeights | None:
    """Find by content: which published file has this SHA-256."""
    for weights in published_weights(entry):
        if sha256.startswith(weights.sha256_prefix):
            return weights
    return None


def fetch_weights(weights: PublishedWeights) -> Path:
    """Give the file in PyTorch's hub folder, downloaded and its hash checked if need be.

    Raises:
        WeightsError: It cannot be fetched, or is not what was published.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / _file_name(weights.url)
    if path.is_file():
        return path
    logger.info("fetching %s to %s", weights.url, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            weights.url, str(path), weights.sha256_prefix, progress=sys.stderr.isatty()
        )
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        raise WeightsError(
            f"weights {weights.name} of {weights.architecture} could not be fetched from "
            f"{weights.url} ({error}): fetch that file where there is a network, and give its path"
        ) from error
    return path


def _describe(entry: ModelEntry, member: Any) -> PublishedWeights:
    return PublishedWeights(
        name=member.name,
        architecture=entry.name,
        url=member.url,
        # "resnet18-f37072fd.pth" -> "f37072fd"
        sha256_prefix=Path(_file_name(member.url)).stem.rsplit("-", 1)[1],
        preprocessing=_rule(member.transforms()),
    )


def _rule(preset: Any) -> PreprocessingRule:
    """Read torchvision's presets, which have one number per size; segmentation does not crop."""
    (resize_size,), (crop_size,) = preset.resize_size, getattr(preset, "crop_size", (None,))
    return PreprocessingRule(
        resize_size=resize_size,
        crop_size=None if crop_size is None else (crop_size, crop_size),
        interpolation=preset.interpolation.value,
        color_order="RGB",
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def _file_name(url: str) -> str:
    return Path(urlparse(url).path).name
