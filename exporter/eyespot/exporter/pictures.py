"""Real pictures for the parity check: a folder of them, through the model's own rule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eyespot.exporter.errors import PreprocessingFitError
from eyespot.exporter.parity import Batch
from eyespot.v1.picture_files import open_picture
from eyespot.v1.preprocessing import PreprocessingError, PreprocessingRule

MAX_PICTURES = 64

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Pictures:
    """What a folder gave.

    Attributes:
        batches: The pictures that could be read, as the network takes them.
        skipped: Name and reason of each that could not.
    """

    batches: tuple[Batch, ...]
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
    if not folder.is_dir():
        raise PreprocessingFitError(f"{folder} is no folder: parity needs a folder of pictures")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    rows, skipped = [], []
    for path in found[:MAX_PICTURES]:
        try:
            with open_picture(path) as image:
                pixels = rule.apply(image)  # (H, W, C)
            if shape is not None and pixels.shape[:2] != shape:
                raise PreprocessingError(f"gives {pixels.shape[:2]}, the network takes {shape}")
            rows.append(pixels)
        except (OSError, SyntaxError, ValueError) as error:
            skipped.append(f"{path.name}: {error}".replace(str(folder), folder.name))
    if not rows:
        reasons = f" ({skipped[0]})" if skipped else ""
        raise PreprocessingFitError(f"no usable picture among {len(found)} in {folder}{reasons}")
    of_all = f" of {len(found)}" if len(found) > MAX_PICTURES else ""
    unreadable = f", {len(skipped)} unreadable" if skipped else ""
    source = f"{len(rows)}{of_all} pictures{unreadable}"
    step = batch_size if shape is not None else 1
    batches = tuple(
        Batch(source, (np.stack(rows[start : start + step]),))
        for start in range(0, len(rows), step)
    )
    return Pictures(batches, tuple(skipped))
