"""Which preprocessing rule a network of the zoo is exported with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eyespot.exporter.errors import PreprocessingFitError
from eyespot.v1.preprocessing import IMAGENET, PreprocessingError, PreprocessingRule


def choose_rule(
    wanted: str | Path | PreprocessingRule | None,
    own: PreprocessingRule | None,
    *,
    channels: int,
    height: int | None,
    width: int | None,
) -> PreprocessingRule | None:
    """Choose the rule; None stands for none: the graph takes what the network takes.

    A rule that was written for this network, as a file or a value, must fit as it is; the
    network's own and ImageNet's follow its input size and channels.

    Args:
        wanted: "imagenet", "none", a rule, a JSON file with one, or None for `own`.
        own: Of the network or of its weights.
        channels: That the network takes.
        height: That the network takes; None where it takes any.
        width: The same.

    Raises:
        PreprocessingFitError: The rule is unknown, unreadable or cannot be made to fit.
    """
    if isinstance(wanted, PreprocessingRule):
        return wanted
    if wanted == "none" or (wanted is None and own is None):
        return None
    if wanted is None or wanted == "imagenet":
        rule = IMAGENET if own is None or wanted == "imagenet" else own
        return fit_rule(rule, channels=channels, height=height, width=width)
    if isinstance(wanted, Path):
        return read_rule(wanted)
    raise PreprocessingFitError(
        f"preprocessing {wanted!r} is neither 'imagenet' nor 'none' nor a JSON file"
    )


def change_rule(rule: PreprocessingRule, changes: Mapping[str, Any]) -> PreprocessingRule:
    """Change values of a rule, by their names.

    Raises:
        PreprocessingFitError: What comes of it is no rule.
    """
    try:
        return dataclasses.replace(rule, **changes)
    except PreprocessingError as error:
        raise PreprocessingFitError(str(error)) from error


def read_rule(path: Path) -> PreprocessingRule:
    """Read a rule from a JSON file.

    Raises:
        PreprocessingFitError: It cannot be read or is no rule.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise PreprocessingError(f"an object is expected, found {type(values).__name__}")
        return PreprocessingRule.from_json(values)
    except (OSError, ValueError) as error:
        raise PreprocessingFitError(f"{path} is no preprocessing rule: {error}") from error


def fit_rule(
    rule: PreprocessingRule, *, channels: int, height: int | None, width: int | None
) -> PreprocessingRule:
    """Give a rule for another input size or number of channels, of the same proportions.

    For a network that takes pictures of any size, what would make them all alike is left out.

    Raises:
        PreprocessingFitError: The network takes neither colour nor grey pictures.
    """
    if channels != rule.channels:
        rule = _recoloured(rule, channels)
    if height is None or width is None:
        fixed = rule.size is not None
        return dataclasses.replace(rule, resize_size=None, crop_size=None) if fixed else rule
    if rule.size in (None, (height, width)):
        return rule
    if rule.crop_size is None:
        return dataclasses.replace(rule, resize_size=(height, width))
    old_height, old_width = rule.crop_size
    resize = rule.resize_size
    if isinstance(resize, tuple):
        resize = (_scaled(resize[0], height, old_height), _scaled(resize[1], width, old_width))
    elif resize is not None:
        resize = _scaled(resize, max(height, width), max(old_height, old_width))
    return dataclasses.replace(rule, resize_size=resize, crop_size=(height, width))


def _scaled(size: int, new: int, old: int) -> int:
    return round(size * new / old)


def _recoloured(rule: PreprocessingRule, channels: int) -> PreprocessingRule:
    if channels == 1:
        mean, std = (sum(values) / len(values) for values in (rule.mean, rule.std))
        return dataclasses.replace(rule, color_order="GRAY", mean=(mean,), std=(std,))
    if channels == 3:
        return dataclasses.replace(rule, color_order="RGB", mean=rule.mean * 3, std=rule.std * 3)
    raise PreprocessingFitError(
        f"the network takes {channels} channels, pictures have 1 or 3: export without preprocessing"
    )
