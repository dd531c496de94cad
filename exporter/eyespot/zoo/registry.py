"""Networks by name: registered by the file of their paper, built by `create_model`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.v1.sha256 import sha256_of
from eyespot.zoo.entry import Builder, ModelEntry, remember_entry
from eyespot.zoo.errors import ArchitectureError, DuplicateModelError, UnknownModelError
from eyespot.zoo.published import find_published, identify_file
from eyespot.zoo.weights import load_weights

_registry: dict[str, ModelEntry] = {}


def register_model(name: str, **facts: Any) -> Callable[[Builder], Builder]:
    """Register the decorated builder under a name.

    Args:
        name: What `create_model` will take.
        **facts: The other fields of `ModelEntry`, but for the builder.

    Raises:
        DuplicateModelError: The name is taken.
    """

    def register(builder: Builder) -> Builder:
        if name in _registry:
            raise DuplicateModelError(f"a network named {name!r} is registered already")
        _registry[name] = ModelEntry(name=name, builder=builder, **facts)
        return builder

    return register


def list_models() -> list[str]:
    """Name every network of the zoo, in alphabetical order."""
    return sorted(_registry)


def model_entry(name: str) -> ModelEntry:
    """Tell what is known of a network without building it.

    Raises:
        UnknownModelError: There is none of this name.
    """
    if name not in _registry:
        close = difflib.get_close_matches(name, _registry, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        raise UnknownModelError(
            f"no network is named {name!r}; {guess}`eyespot models` lists the {len(_registry)} "
            "that there are"
        )
    return _registry[name]


def create_model(
    name: str,
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    input_size: int | None = None,
) -> nn.Module:
    """Build a network in evaluation mode.

    Args:
        name: One of `list_models()`.
        weights: A state_dict file, the name of torchvision weights ("IMAGENET1K_V1",
            "DEFAULT"), or None for random weights.
        num_classes: Width of the output; the paper's where None.
        in_channels: Channels of the input; the paper's where None.
        input_size: Height and width of the input; the paper's where None.

    Raises:
        UnknownModelError: There is no network of this name.
        ArchitectureError: The network cannot have this shape.
        WeightsError: The weights cannot be had, or belong to another network or shape.
        MissingTorchvisionError: The network is torchvision's, which is not installed.
        MissingTimmError: The network is timm's, which is not installed.
    """
    entry = model_entry(name)
    channels, size = entry.input_size[0], entry.input_size[-1]
    shape = {
        "num_classes": _at_least(1, num_classes, entry.num_classes, f"{name}'s num_classes"),
        "in_channels": _at_least(1, in_channels, channels, f"{name}'s in_channels"),
        "input_size": _at_least(entry.min_input_size, input_size, size, f"{name}'s input_size"),
    }
    module = entry.builder(**shape)
    remember_entry(module, entry)
    if weights is not None:
        load_weights(module, weights)
    return module.eval()


def preprocessing_for(name: str, weights: str | Path | None = None) -> PreprocessingRule | None:
    """Tell what a picture must go through for a network with these weights; None for no picture.

    Args:
        name: One of `list_models()`.
        weights: As `create_model` takes them. Published weights, by name or as the published
            file, have their own rule; with every other file it is the paper's.

    Raises:
        UnknownModelError: There is no network of this name.
    """
    entry = model_entry(name)
    if weights is None:
        return entry.preprocessing
    path = Path(weights).expanduser()
    if path.is_file():
        published = identify_file(entry, sha256_of(path))
    else:
        published = find_published(entry, str(weights))
    return entry.preprocessing if published is None else published.preprocessing


def _at_least(minimum: int, asked: int | None, default: int, what: str) -> int:
    if asked is None:
        return default
    if asked < minimum:
        raise ArchitectureError(f"{what} must be at least {minimum}, found {asked}")
    return asked
