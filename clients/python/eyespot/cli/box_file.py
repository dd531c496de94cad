"""A file of boxes: where the objects of pictures are, for the pointing game.

It is a CSV with a head, or a JSON list of objects with the same keys:

    image,x_min,y_min,x_max,y_max,label
    photos/dog.jpg,12,30,140,200,dog

`image` is the picture's path, or the end of it; a box reaches from its left and upper edge to
its right and lower one, in pixels of the file, counted from the upper left corner. `label` is
a class by its label or index; it may be left out, and then the picture's top class is asked
to point at the box. A picture may have several boxes.
"""

from __future__ import annotations

import csv
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from eyespot.cli.errors import CommandError
from eyespot.cli.region import Rectangle
from eyespot.v1.preprocessing import PreprocessingRule

if TYPE_CHECKING:
    from eyespot.saliency.faithfulness import Objects

_EDGES = ("x_min", "y_min", "x_max", "y_max")
_KEYS = ("image", *_EDGES, "label")
_TOP_CLASS = -1


@dataclass(frozen=True)
class Box:
    """One object of one picture."""

    image: str
    edges: tuple[float, float, float, float]  # left, upper, right, lower
    label: str  # empty: the picture's top class


def read_boxes(path: Path) -> list[Box]:
    """Read a file of boxes.

    Raises:
        CommandError: It cannot be read, is neither form, or a box is none; names the place.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(f"{path} cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not UTF-8 (byte {error.start})") from error
    rows = _json_rows(text, path) if path.suffix.lower() == ".json" else _csv_rows(text, path)
    if not rows:
        raise CommandError(f"{path} holds no box")
    return [_box(row, f"{path}, box {number}") for number, row in enumerate(rows, start=1)]


def place_boxes(
    boxes: Sequence[Box],
    pictures: Mapping[str, Image.Image],
    rule: PreprocessingRule,
    labels: Sequence[str],
    *,
    classes: int,
) -> tuple[Objects, list[str]]:
    """Find the objects of pictures, as the network sees them.

    Args:
        boxes: Those of other pictures are passed over.
        pictures: By their paths, in the order of the rows.
        rule: From a picture to what the network sees.
        labels: Of the classes; empty when they have none.
        classes: How many there are.

    Returns:
        The objects, and a note for each that the network does not see.

    Raises:
        CommandError: No box is of any picture, one could be of several, or a label is unknown.
    """
    from eyespot.saliency.faithfulness import Objects

    paths = list(pictures)
    found: dict[tuple[int, int], list[Box]] = {}
    for box in boxes:
        row = _row_of(box, paths)
        if row is not None:
            index = _class_of(box, labels, classes)
            found.setdefault((row, index), []).append(box)
    if not found:
        raise CommandError(
            f"no box is of any of the pictures: the first box is of {boxes[0].image!r}, "
            f"the first picture is {paths[0]!r}; give each box its picture's path or the end of it"
        )
    notes = []
    regions: dict[tuple[int, int], NDArray[np.bool_]] = {}
    for key, own in found.items():
        region = _region(own, pictures[paths[key[0]]], rule)
        if region.any():
            regions[key] = region
        else:
            notes.append(f"{paths[key[0]]}: nothing of its box is left in what the network sees")
    if not regions:
        raise CommandError(notes[0])
    rows, indices = np.array(list(regions), np.int64).T
    return Objects(rows, indices, np.stack(list(regions.values()))), notes


def _json_rows(text: str, path: Path) -> list[Mapping[str, Any]]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise CommandError(f"{path} is no JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise CommandError(f"{path} must hold a list of objects with the keys {', '.join(_KEYS)}")
    return rows


def _csv_rows(text: str, path: Path) -> list[Mapping[str, Any]]:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    heads = reader.fieldnames or []
    if not set(_KEYS[:-1]) <= set(heads):
        raise CommandError(
            f"{path} must begin with the line {','.join(_KEYS)} (label may be left out), "
            f"found {','.join(heads) or 'nothing'}"
        )
    return list(reader)


def _box(row: Mapping[str, Any], where: str) -> Box:
    unknown = [str(key) for key in row if key not in _KEYS]
    missing = [key for key in _KEYS[:-1] if row.get(key) in (None, "")]
    if unknown or missing:
        what = f"has no {', '.join(missing)}" if missing else f"has {', '.join(unknown)} too"
        raise CommandError(f"{where} {what}; expected {', '.join(_KEYS)}")
    try:
        left, upper, right, lower = (float(row[key]) for key in _EDGES)
    except (TypeError, ValueError) as error:
        raise CommandError(f"{where}: its edges must be numbers: {error}") from error
    if not all(map(math.isfinite, (left, upper, right, lower))) or left >= right or upper >= lower:
        raise CommandError(
            f"{where}: expected x_min < x_max and y_min < y_max, "
            f"found {left:g}, {upper:g} to {right:g}, {lower:g}"
        )
    label = row.get("label")
    return Box(str(row["image"]), (left, upper, right, lower), "" if label is None else str(label))


def _row_of(box: Box, paths: Sequence[str]) -> int | None:
    """Find the picture whose path ends as the box says."""
    if box.image in paths:
        return paths.index(box.image)
    end = PurePath(box.image).parts
    rows = [row for row, path in enumerate(paths) if PurePath(path).parts[-len(end) :] == end]
    if len(rows) > 1:
        raise CommandError(
            f"the box of {box.image!r} could be of {' or '.join(paths[row] for row in rows)}: "
            "give more of the path"
        )
    return rows[0] if rows else None


def _class_of(box: Box, labels: Sequence[str], classes: int) -> int:
    if not box.label:
        return _TOP_CLASS
    if box.label in labels:
        return labels.index(box.label)
    if box.label.isdecimal() and int(box.label) < classes:
        return int(box.label)
    nearest = difflib.get_close_matches(box.label, labels, n=1)
    meant = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise CommandError(
        f"the box of {box.image!r} is of {box.label!r}, which is neither a label nor an index "
        f"below {classes}{meant}"
    )


def _region(
    boxes: Sequence[Box], picture: Image.Image, rule: PreprocessingRule
) -> NDArray[np.bool_]:
    """Paint boxes white on black, and let that go the picture's own way; (H, W)."""
    painted = Image.new("L", picture.size)
    for box in boxes:
        painted = ImageChops.lighter(painted, Rectangle(*box.edges).paint(picture.size))
    return rule.place(painted)
