"""Real pictures for the parity check: a folder of them, through the model's own rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.exporter.errors import PreprocessingFitError
from eyespot.exporter.parity import Batch
from eyespot.v1.picture_files import open_picture
from eyespot.v1.preprocessing import PreprocessingError, PreprocessingRule

MAX_PICTURES = 64

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}

Pixels = NDArray[Any]


@dataclass(frozen=True)
class Pictures:
    """What a folder gave.

    Attributes:
        batches: The pictures that could be read, as the network takes them.
        skipped: Name and reason of each that could not.
    """

    batches: tuple[Batch, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class PictureRows:
    """Pictures one by one.

    Attributes:
        paths: Of those that could be read.
        rows: Of each its pixels (H, W, C), as the network takes them.
        skipped: Name and reason of each that could not.
    """

    paths: tuple[Path, ...]
    rows: tuple[Pixels, ...]
    skipped: tuple[str, ...]


def read_pictures(
    folder: Path, rule: PreprocessingRule | None, *, shape: tuple[int, int] | None, batch_size: int
) -> Pictures:
    """Read the first pictures of a folder and of those below it, in the order of their names.

    Args:
        folder: Files that are no pictures by their suffix are passed over.
        rule: The model's own; without one there is no way from a picture to its input.
        shape: (height, width) that the network takes; None where it takes any, and then each
            picture is a batch of its own.
        batch_size: Rows of a batch; the last may have fewer.

    Raises:
        PreprocessingFitError: There is no rule, or not one picture can be used.
    """
    if rule is None:
        raise PreprocessingFitError(
            "parity on pictures needs a preprocessing rule, and this model takes none"
        )
    found = find_pictures(folder)
    read = read_rows(found[:MAX_PICTURES], rule, shape=shape, folder=folder)
    rows, skipped = read.rows, read.skipped
    if not rows:
        reasons = f" ({skipped[0]})" if skipped else ""
        raise PreprocessingFitError(f"no usable picture among {len(found)} in {folder}{reasons}")
    of_all = f" of {len(found)}" if len(found) > MAX_PICTURES else ""
    unreadable = f", {len(skipped)} unreadable" if skipped else ""
    source = f"{len(rows)}{of_all} pictures{unreadable}"
    step = batch_size if shape is not None else 1
    return Pictures(batches_of(rows, source=source, batch_size=step), skipped)


def find_pictures(folder: Path) -> list[Path]:
    """Name the pictures of a folder and of those below it, in order.

    Raises:
        PreprocessingFitError: There is no such folder.
    """
    if not folder.is_dir():
        raise PreprocessingFitError(f"{folder} is no folder: a folder of pictures is expected")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)


def read_rows(
    paths: Sequence[Path], rule: PreprocessingRule, *, shape: tuple[int, int] | None, folder: Path
) -> PictureRows:
    """Read pictures by a rule; those that cannot be read or have another shape are skipped.

    Args:
        paths: Of the pictures.
        rule: The model's own.
        shape: (height, width) that the network takes; None where it takes any.
        folder: That they are in, which reasons name without its own place.
    """
    kept, rows, skipped = [], [], []
    for path in paths:
        try:
            with open_picture(path) as image:
                pixels = rule.apply(image)  # (H, W, C)
            if shape is not None and pixels.shape[:2] != shape:
                raise PreprocessingError(f"gives {pixels.shape[:2]}, the network takes {shape}")
        except (OSError, SyntaxError, ValueError) as error:
            skipped.append(f"{path.name}: {error}".replace(str(folder), folder.name))
        else:
            kept.append(path)
            rows.append(pixels)
    return PictureRows(tuple(kept), tuple(rows), tuple(skipped))


def batches_of(rows: Sequence[Pixels], *, source: str, batch_size: int) -> tuple[Batch, ...]:
    """Stack pictures into batches; the last may have fewer rows."""
    return tuple(
        Batch(source, (np.stack(rows[start : start + batch_size]),))  # (B, H, W, C)
        for start in range(0, len(rows), batch_size)
    )
