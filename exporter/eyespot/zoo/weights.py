"""Weights into a module: found by path or by name, compared name by name, then copied."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

from torch import nn

from eyespot.v1.sha256 import sha256_of
from eyespot.zoo.entry import ModelEntry, StateDict, entry_of
from eyespot.zoo.errors import WeightsError
from eyespot.zoo.published import (
    PublishedWeights,
    fetch_weights,
    find_published,
    identify_file,
    published_weights,
)
from eyespot.zoo.weight_files import read_notes, read_state_dict

_SHOWN = 5  # differences of each kind in an error; a wrong network has hundreds


@dataclass(frozen=True)
class WeightsOrigin:
    """Where the weights of a module came from.

    Attributes:
        source: The file's name (not its folder), or the name of the published weights.
        sha256: Of the file that was read.
        published: The name under which torchvision publishes these very bytes, if it does.
        transform_input: The network re-normalises its input inside, as it was trained to
            (torchvision's GoogLeNet); no state_dict tells this.
        training: What the header of a safetensors file tells of how they came about.
        missing: What the file was not asked for: tensors of a head that begins afresh.
        unexpected: What the file holds in vain: tensors of its own head.
    """

    source: str
    sha256: str | None = None
    published: str | None = None
    transform_input: bool = False
    training: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


# Weak: remembering where weights came from keeps no module alive.
_origins: WeakKeyDictionary[nn.Module, WeightsOrigin] = WeakKeyDictionary()


def weights_origin(module: nn.Module) -> WeightsOrigin | None:
    """Tell where a module's weights came from; None where `load_weights` gave it none."""
    return _origins.get(module)


def load_weights(
    module: nn.Module,
    source: str | Path,
    *,
    transform_input: bool | None = None,
    without: str | None = None,
) -> WeightsOrigin:
    """Copy weights into a module, all of them or none.

    Args:
        module: A network of the zoo, or any other module (which has files only, no names).
        source: A state_dict file (safetensors, or any that `torch.save` wrote; alone or under
            `state_dict` or `model`), or the name of weights that torchvision publishes.
        transform_input: Whether the network is to re-normalise its input inside, as torchvision's
            GoogLeNet and Inception were trained to; if not told, only published weights, by name
            or by hash, turn it on.
        without: Name of a layer that keeps its own weights, whatever the file has for it.

    Raises:
        WeightsError: They cannot be found, read or trusted, or do not fit, or the network does
            not re-normalise.
    """
    _require_transform_input(module, transform_input)
    entry = entry_of(module)
    path, asked_for = _locate(entry, source)
    state_dict = read_state_dict(path)
    if entry is not None:
        state_dict = entry.adapt_state_dict(state_dict)
    own, unused = _parted(state_dict, without)
    fresh = _require_fit(module, own, path.name, without)
    sha256 = sha256_of(path)
    module.load_state_dict(own, strict=False)
    published = asked_for or (identify_file(entry, sha256) if entry is not None else None)
    origin = WeightsOrigin(
        source=path.name if asked_for is None else asked_for.name,
        sha256=sha256,
        published=None if published is None else published.name,
        transform_input=hasattr(module, "transform_input")
        and (published is not None if transform_input is None else transform_input),
        training=read_notes(path),
        missing=fresh,
        unexpected=unused,
    )
    if hasattr(module, "transform_input"):
        set_transform_input(module, origin.transform_input)
    _origins[module] = origin
    return origin


def set_transform_input(module: nn.Module, transform_input: bool | None) -> None:
    """Let a network re-normalise its input inside, or not; None leaves it as it is.

    Raises:
        WeightsError: It has no such switch.
    """
    _require_transform_input(module, transform_input)
    if transform_input is not None:
        module.transform_input = transform_input  # type: ignore[assignment]


def _require_transform_input(module: nn.Module, transform_input: bool | None) -> None:
    if transform_input is not None and not hasattr(module, "transform_input"):
        raise WeightsError(
            f"{type(module).__name__} does not re-normalise its input: transform_input "
            "(--transform-input) is for torchvision's GoogLeNet and Inception"
        )


def _locate(entry: ModelEntry | None, source: str | Path) -> tuple[Path, PublishedWeights | None]:
    """Find the file, and the published weights where they were asked for by name."""
    path = Path(source).expanduser()
    if path.is_file():
        return path, None
    if path.is_dir():
        raise WeightsError(f"weights {source} is a folder; give a file in it")
    if entry is not None and isinstance(source, str):
        published = find_published(entry, source)
        if published is not None:
            return fetch_weights(published), published
    raise WeightsError(f"weights {str(source)!r} is no file{_names(entry)}")


def _names(entry: ModelEntry | None) -> str:
    if entry is None:
        return ""
    names = ", ".join(weights.name for weights in published_weights(entry))
    if not names:
        return f"; {entry.name} has no published weights, give a file"
    return f", and no name of published weights; {entry.name} has {names}"


def _parted(state_dict: StateDict, without: str | None) -> tuple[StateDict, tuple[str, ...]]:
    """Set the tensors of a layer apart, and name them."""
    names = tuple(name for name in state_dict if without and name.startswith(f"{without}."))
    return {name: value for name, value in state_dict.items() if name not in names}, names


def _require_fit(
    module: nn.Module, state_dict: StateDict, file_name: str, without: str | None
) -> tuple[str, ...]:
    """Check that a file holds all tensors but those of a layer, and name these."""
    own, fresh = _parted(module.state_dict(), without)
    missing = [
        # Files older than PyTorch 0.4.1 do not have it, and evaluation does not use it.
        name
        for name in own
        if name not in state_dict and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in state_dict if name not in own]
    reshaped = {
        name: f"{name} is {_shape(state_dict[name].shape)} in the file, "
        f"{_shape(own[name].shape)} in the network"
        for name in own
        if name in state_dict and state_dict[name].shape != own[name].shape
    }
    differences = [
        _listed("missing", missing),
        _listed("unexpected", unexpected),
        _listed("of another shape", reshaped.values()),
        _listed("nearest", _nearest(own, state_dict, missing, unexpected)),
    ]
    if any(differences):
        advice = "" if missing or unexpected else _advice(own, state_dict, set(reshaped), without)
        raise WeightsError(
            f"{file_name} does not fit this network. {'. '.join(filter(None, differences))}. "
            + (advice or "Give the file's own network, num_classes, in_channels and input_size")
        )
    return fresh


def _nearest(
    own: StateDict, state_dict: StateDict, missing: Sequence[str], unexpected: Sequence[str]
) -> list[str]:
    """Say which names of the file may stand for the first that are missing.

    They have as many numbers; a transposed tensor may be meant, another size is another layer.
    """
    found = []
    for name in missing[:_SHOWN]:
        fitting = [each for each in unexpected if state_dict[each].numel() == own[name].numel()]
        for close in difflib.get_close_matches(name, fitting, n=1):
            there, here = _shape(state_dict[close].shape), _shape(own[name].shape)
            shapes = "" if there == here else f" ({there} there, {here} here)"
            found.append(f"{name} may be {close} in the file{shapes}")
    return found


def _advice(own: StateDict, state_dict: StateDict, reshaped: set[str], without: str | None) -> str:
    """Say what to change where only the output layer differs, or only the input layer."""
    layers = [name for name in own if own[name].ndim > 1]
    first, last = layers[0], layers[-1]
    if any(state_dict[name].ndim != own[name].ndim for name in reshaped):
        return ""
    if without is None and reshaped <= {last, last.removesuffix("weight") + "bias"}:
        rows = state_dict[last].shape[0]
        return f"The file was trained on {rows} classes: num_classes={rows} (--num-classes {rows})"
    if reshaped == {first}:
        columns = state_dict[first].shape[1]
        return (
            f"The file was trained on {columns} channels: "
            f"in_channels={columns} (--channels {columns})"
        )
    return ""


def _shape(shape: Iterable[int]) -> str:
    return "x".join(str(size) for size in shape) or "one number"


def _listed(what: str, names: Iterable[str]) -> str:
    names = list(names)
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what.capitalize()}: {', '.join(names[:_SHOWN])}{more}"
