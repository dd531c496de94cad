"""The pictures of a calibration folder: some tell the ranges, the others what was lost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.exporter.errors import CalibrationError
from eyespot.exporter.parity import Batch
from eyespot.exporter.pictures import Pixels, batches_of, find_pictures, read_rows
from eyespot.exporter.quantisation.source import Source

MIN_PICTURES = 32
MAX_PICTURES = 512
# More tell no more of the ranges.
_MOST_FOR_RANGES = 128
_ROWS_OF_A_BATCH = 8


@dataclass(frozen=True, eq=False)
class Calibration:
    """Pictures as the network takes them.

    Attributes:
        ranges: Those that tell the ranges of the activations.
        held_out: The others: what is lost is measured on them.
        classes: Of those held out, by index; None where the folder does not tell.
        notes: What the user should know.
    """

    ranges: tuple[Batch, ...]
    held_out: tuple[Batch, ...]
    classes: NDArray[np.int64] | None
    notes: tuple[str, ...] = ()

    @property
    def range_count(self) -> int:
        """How many pictures tell the ranges."""
        return sum(map(len, self.ranges))

    @property
    def held_out_count(self) -> int:
        """On how many the loss is measured."""
        return sum(map(len, self.held_out))

    def first(self, count: int) -> tuple[Batch, ...]:
        """Some of those held out, from all over the folder."""
        rows: list[Pixels] = [row for batch in self.held_out for row in batch.inputs[0]]
        some = rows[:: max(1, len(rows) // count)][:count]
        is_one_shape = len({row.shape for row in some}) == 1
        return batches_of(
            some, source="held out", batch_size=_ROWS_OF_A_BATCH if is_one_shape else 1
        )


def read_calibration(source: Source, folder: Path, *, most: int = MAX_PICTURES) -> Calibration:
    """Read a folder through the model's own rule; every other picture tells the ranges.

    Args:
        source: The model that is to be quantised.
        folder: Pictures; where its subfolders bear the names of the labels, they tell the class.
        most: Pictures to read, from all over the folder.

    Raises:
        CalibrationError: They are too few, or the model takes no pictures.
    """
    rule = source.manifest.preprocessing
    if rule is None:
        raise CalibrationError(
            f"{source} takes arrays and not pictures: it has no preprocessing rule to calibrate "
            "with; export it with one"
        )
    found = find_pictures(folder)
    chosen = [found[place] for place in _spread(len(found), most)]
    read = read_rows(chosen, rule, shape=source.picture_shape, folder=folder)
    if len(read.rows) < MIN_PICTURES:
        because = f" ({read.skipped[0]})" if read.skipped else ""
        among = (
            f" among the {most} of its {len(found)} that --most-pictures {most} lets be read"
            if most < len(found)
            else ""
        )
        raise CalibrationError(
            f"{folder} has {len(read.rows)} usable pictures{among}{because}: at least "
            f"{MIN_PICTURES} are needed, of what the network will see; 200 and more are better"
        )
    size = _ROWS_OF_A_BATCH if source.picture_shape else 1
    classes = _classes(read.paths, folder, source.labels)
    first, second = read.rows[0::2][:_MOST_FOR_RANGES], read.rows[1::2]
    return Calibration(
        batches_of(first, source="calibration", batch_size=size),
        batches_of(second, source=f"{len(second)} held out", batch_size=size),
        None if classes is None else classes[1::2],
        (
            *_unusable(read.skipped, of=len(chosen)),
            *_strangers(read.paths, folder, source.labels),
        ),
    )


def _unusable(skipped: tuple[str, ...], *, of: int) -> tuple[str, ...]:
    """A note on the pictures that were passed over."""
    if not skipped:
        return ()
    return (f"left out as unusable: {len(skipped)} of {of} pictures, the first {skipped[0]}",)


def _strangers(
    paths: tuple[Path, ...], folder: Path, labels: tuple[str, ...] | None
) -> tuple[str, ...]:
    """A note on subfolders that are none of the model's labels, though others may be meant so."""
    folders = {path.relative_to(folder).parts[0] for path in paths if path.parent != folder}
    unknown = sorted(folders - set(labels or ()))
    if labels is None or not unknown:
        return ()
    told = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
    return (
        f"no label of the model is called {told}: without a class for each picture, agreement is "
        "measured and not accuracy",
    )


def _spread(count: int, most: int) -> list[int]:
    """Choose places at even distances, an even number of neighbours from each class."""
    if count <= most:
        return list(range(count))
    return [place * count // most for place in range(most)]


def _classes(
    paths: tuple[Path, ...], folder: Path, labels: tuple[str, ...] | None
) -> NDArray[Any] | None:
    """Read the classes off the subfolders; None unless each is a label that names one class."""
    names = [path.relative_to(folder).parts[0] for path in paths]
    if labels is None or not all(labels.count(name) == 1 for name in set(names)):
        return None
    return np.array([labels.index(name) for name in names])
