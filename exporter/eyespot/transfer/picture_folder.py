"""A folder of pictures, one folder for each class: what can be learnt from, and what is held out.

`FOLDER/<class>/<picture>` is split here, each class in proportion. Where there are
`FOLDER/train/<class>/` and `FOLDER/val/<class>/` (or `test/`), that split is taken as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eyespot.transfer.errors import ExamplesError
from eyespot.transfer.examples import Examples
from eyespot.v1.manifest import sha256_of
from eyespot.v1.picture_files import open_picture
from eyespot.v1.preprocessing import PreprocessingRule

_HELD_OUT_FOLDERS = ("val", "validation", "test")
_FEWEST = 2  # of a class: one to learn, one to measure
_SHOWN = 5

# Class by class, in the order of the labels: the files.
_Files = dict[str, list[Path]]


@dataclass(frozen=True, eq=False)
class PictureSplit:
    """Pictures to train on, and pictures that training never sees.

    Attributes:
        labels: Names of the classes, by index.
        skipped: Name and reason of each file that is no usable picture.
        repeated: Held-out pictures whose very bytes are among those to train on: with them
            a figure measured on the held-out ones flatters.
    """

    train: Examples
    held_out: Examples
    labels: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()


def load_picture_folder(
    folder: Path,
    rule: PreprocessingRule,
    *,
    held_out: float = 0.2,
    seed: int = 0,
    progress: Callable[[int], None] = lambda total: None,
) -> PictureSplit:
    """Read every picture of a folder into memory, at the size that the network takes.

    Args:
        folder: Has a folder for each class, or a split of such folders.
        rule: Applied to each picture; it must give all of them one size.
        held_out: Share of each class that is held out, where the folder has no split.
        seed: Of the choice which ones.
        progress: Called after each file that is read, with how many there are.

    Raises:
        ExamplesError: There is no such folder, fewer than two classes, or too few pictures.
    """
    if not 0 < held_out < 1:
        raise ExamplesError(f"the share held out must lie between 0 and 1, found {held_out}")
    if rule.size is None:
        raise ExamplesError("the pictures must come to one size: give the rule a crop or a resize")
    given = _given_split(folder)
    learnt, measured = given or ({}, {})
    files = learnt or _classes_of(folder)
    labels = tuple(files)
    reader = _Reader(rule, folder, total=_count(files) + _count(measured), progress=progress)
    rows = {name: reader.read(paths) for name, paths in files.items()}
    if given is None:
        parts = {name: _part(some, held_out, seed) for name, some in rows.items()}
        rows = {name: some[0] for name, some in parts.items()}
        others = {name: some[1] for name, some in parts.items()}
    else:
        others = {name: reader.read(measured[name]) for name in labels}
    known = {sha256_of(row.path) for some in rows.values() for row in some}
    repeated = tuple(
        reader.name(row.path)
        for some in others.values()
        for row in some
        if sha256_of(row.path) in known
    )
    return PictureSplit(
        train=_examples(rows, "to learn from", reader),
        held_out=_examples(others, "to measure with", reader),
        labels=labels,
        skipped=tuple(reader.skipped),
        repeated=repeated,
    )


@dataclass(frozen=True, eq=False)
class _Row:
    path: Path
    pixels: np.ndarray  # (H, W, C)


class _Reader:
    """Reads pictures, and keeps account of those that cannot be read."""

    def __init__(
        self,
        rule: PreprocessingRule,
        folder: Path,
        *,
        total: int,
        progress: Callable[[int], None],
    ) -> None:
        self.skipped: list[str] = []
        self._rule = rule
        self._folder = folder
        self._total = total
        self._progress = progress

    def name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def read(self, paths: Sequence[Path]) -> list[_Row]:
        return [row for path in paths if (row := self._read(path)) is not None]

    def _read(self, path: Path) -> _Row | None:
        self._progress(self._total)
        try:
            with open_picture(path) as image:
                return _Row(path, self._rule.apply(image))
        except (OSError, SyntaxError, ValueError) as error:
            reason = str(error).replace(str(path), "it")
            self.skipped.append(f"{self.name(path)}: {reason}")
            return None


def _given_split(folder: Path) -> tuple[_Files, _Files] | None:
    """The split that the folder has, if it has one."""
    train = folder / "train"
    found = [folder / name for name in _HELD_OUT_FOLDERS if (folder / name).is_dir()]
    if not train.is_dir() or not found:
        return None
    learnt, measured = _classes_of(train), _classes_of(found[0])
    if list(learnt) != list(measured):
        differing = sorted(set(learnt) ^ set(measured))
        raise ExamplesError(
            f"{train.name}/ and {found[0].name}/ must have the same classes; "
            f"only one has {', '.join(differing)}"
        )
    return learnt, measured


def _classes_of(folder: Path) -> _Files:
    try:
        folders = sorted(
            path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
    except OSError as error:
        raise ExamplesError(f"{folder} cannot be read: {error.strerror}") from error
    if len(folders) < 2:
        raise ExamplesError(
            f"{folder} must have a folder of pictures for each class, two at least; "
            f"found {', '.join(path.name for path in folders) or 'none'}"
        )
    return {path.name: _files_of(path) for path in folders}


def _files_of(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    )


def _count(files: _Files) -> int:
    return sum(map(len, files.values()))


def _part(rows: list[_Row], held_out: float, seed: int) -> tuple[list[_Row], list[_Row]]:
    """Part the pictures of one class by chance, at least one on either side."""
    if len(rows) < _FEWEST:
        return rows, []
    order = np.random.default_rng(seed).permutation(len(rows))
    count = min(max(math.floor(len(rows) * held_out + 0.5), 1), len(rows) - 1)
    return [rows[at] for at in sorted(order[count:])], [rows[at] for at in sorted(order[:count])]


def _examples(rows: Mapping[str, list[_Row]], what: str, reader: _Reader) -> Examples:
    few = [name for name, some in rows.items() if not some]
    if few:
        skipped = reader.skipped
        told = f" ({len(skipped)} skipped, such as {skipped[0]})" if skipped else ""
        raise ExamplesError(
            f"no picture {what} of {', '.join(few[:_SHOWN])}: each class needs {_FEWEST} pictures "
            f"at least{told}"
        )
    images = np.stack([row.pixels for some in rows.values() for row in some])  # (N, H, W, C)
    counts = [len(some) for some in rows.values()]
    return Examples(images, np.repeat(np.arange(len(counts), dtype=np.int64), counts))
