"""Data to learn from: a folder, a CSV or a `.npz` becomes pictures to train on and others held out.

Where the data brings no split, each class is parted in proportion. Where pictures have several
classes, each is counted for the rarest of its own, so that rare classes come to either side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.transfer.errors import ExamplesError
from eyespot.transfer.examples import Examples
from eyespot.transfer.picture_arrays import list_arrays
from eyespot.transfer.picture_folder import list_folder
from eyespot.transfer.picture_listing import Listed, Listing
from eyespot.transfer.picture_reading import ReadPictures, read_pictures, take
from eyespot.transfer.picture_split import PictureSplit
from eyespot.transfer.picture_table import list_table
from eyespot.v1.preprocessing import PreprocessingRule

_FEWEST = 2  # of a class: one to learn, one to measure
_SHOWN = 5


def load_data(
    path: Path | str,
    rule: PreprocessingRule,
    *,
    held_out: float = 0.2,
    seed: int = 0,
    val: Path | str | None = None,
    multi_label: bool = False,
    progress: Callable[[int], None] = lambda total: None,
) -> PictureSplit:
    """Read pictures and their classes, at the size that the network takes.

    Args:
        path: A folder with a folder for each class, or with `train/` and `val/` of such folders;
            a CSV of paths and labels; or a `.npz` of images and labels.
        rule: Applied to each picture; it must give all of them one size.
        held_out: Share of each class that is held out, where the data brings no split.
        seed: Of the choice which ones.
        val: More data of any of these kinds, all of which is held out: nothing of `path` is.
        multi_label: Whether a picture may have any number of classes: in a CSV with semicolons
            between them, in a `.npz` as rows of 0 and 1.
        progress: Called after each picture that is read, with how many there are.

    Raises:
        ExamplesError: There is no such data, fewer than two classes, or too few pictures of one.
    """
    if not 0 < held_out < 1:
        raise ExamplesError(f"the share held out must lie between 0 and 1, found {held_out}")
    if rule.size is None:
        raise ExamplesError("the pictures must come to one size: give the rule a crop or a resize")
    listing = list_data(Path(path), multi_label)
    if val is not None:
        listing = _with_val(listing, list_data(Path(val), multi_label))
    if len(listing.labels) < 2 and not multi_label:
        raise ExamplesError(
            f"{path} has one class ({', '.join(listing.labels) or 'not even one'}): two at least "
            "are needed to tell apart"
        )
    everything = [*listing.learnt, *(listing.measured or ())]
    read = read_pictures(everything, rule, progress=progress)
    kept = [everything[at] for at in read.kept]
    targets = _targets(kept, listing.labels, multi_label)
    if listing.measured is None:
        learnt, measured = _part(_strata(targets, len(listing.labels)), held_out, seed)
    else:
        learnt = [row for row, at in enumerate(read.kept) if at < len(listing.learnt)]
        measured = list(range(len(learnt), len(kept)))
    _check_counts(targets, learnt, measured, listing.labels, read.skipped)
    return _split(read, kept, targets, learnt, measured, listing.labels)


def list_data(path: Path, multi_label: bool) -> Listing:
    """List the pictures of data of any kind, as `load_data` takes them; none is opened.

    Raises:
        ExamplesError: There is no such data.
    """
    if path.suffix.lower() == ".npz":
        return list_arrays(path, multi_label=multi_label)
    if path.is_file():
        return list_table(path, multi_label=multi_label)
    if multi_label:
        raise ExamplesError(
            f"{path} is a folder, in which a picture has one class: for several give a CSV or a "
            ".npz"
        )
    return list_folder(path)


def _with_val(listing: Listing, other: Listing) -> Listing:
    """Hold out the whole of the other data, which may name no class that is not learnt."""
    unknown = sorted(set(other.labels) - set(listing.labels))
    if unknown:
        raise ExamplesError(
            f"the data held out has classes that the data to learn from has not: "
            f"{', '.join(unknown[:_SHOWN])}"
        )
    learnt = [*listing.learnt, *(listing.measured or ())]
    return Listing(listing.labels, tuple(learnt), (*other.learnt, *(other.measured or ())))


def _targets(listed: Sequence[Listed], labels: tuple[str, ...], multi_label: bool) -> NDArray[Any]:
    """Class indices (N,), or (N, K) of 0 and 1 where a picture may have several."""
    index = {name: at for at, name in enumerate(labels)}
    if not multi_label:
        return np.array([index[each.classes[0]] for each in listed], np.int64)
    targets = np.zeros((len(listed), len(labels)), np.float32)
    for row, each in enumerate(listed):
        targets[row, [index[name] for name in each.classes]] = 1
    return targets


def _strata(targets: NDArray[Any], classes: int) -> list[list[int]]:
    """Group rows by class; of several the rarest, and those of none by themselves."""
    if targets.ndim == 1:
        return [np.flatnonzero(targets == each).tolist() for each in range(classes)]
    counts = targets.sum(axis=0)  # (N, K) -> (K,)
    rarity = np.where(targets > 0, counts, np.inf)  # (N, K)
    rarest = np.where(targets.any(axis=1), rarity.argmin(axis=1), classes)  # -> (N,)
    return [np.flatnonzero(rarest == each).tolist() for each in range(classes + 1)]


def _part(strata: list[list[int]], held_out: float, seed: int) -> tuple[list[int], list[int]]:
    """Part each group by chance, at least one on either side."""
    learnt: list[int] = []
    measured: list[int] = []
    for rows in strata:
        if len(rows) < _FEWEST:
            learnt += rows
            continue
        order = np.random.default_rng(seed).permutation(len(rows))
        count = min(max(math.floor(len(rows) * held_out + 0.5), 1), len(rows) - 1)
        learnt += [rows[at] for at in sorted(order[count:])]
        measured += [rows[at] for at in sorted(order[:count])]
    return learnt, measured


def _check_counts(
    targets: NDArray[Any],
    learnt: list[int],
    measured: list[int],
    labels: tuple[str, ...],
    skipped: tuple[str, ...],
) -> None:
    """Refuse classes of too few pictures; of several classes each must be learnt, at least."""
    parts = [(learnt, "to learn from"), (measured, "to measure with")]
    for rows, what in parts[:1] if targets.ndim == 2 else parts:
        part = targets[rows]
        counts = part.sum(axis=0) if part.ndim == 2 else np.bincount(part, minlength=len(labels))
        few = [name for name, count in zip(labels, counts, strict=True) if not count]
        if few:
            told = f" ({len(skipped)} skipped, such as {skipped[0]})" if skipped else ""
            more = f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else ""
            raise ExamplesError(
                f"no picture {what} of {', '.join(few[:_SHOWN])}{more}: each class needs "
                f"{_FEWEST} pictures at least{told}"
            )


def _split(
    read: ReadPictures,
    kept: list[Listed],
    targets: NDArray[Any],
    learnt: list[int],
    measured: list[int],
    labels: tuple[str, ...],
) -> PictureSplit:
    known = {read.hashes[row] for row in learnt}
    return PictureSplit(
        train=Examples(take(read.images, learnt), targets[learnt]),
        held_out=Examples(take(read.images, measured), targets[measured]),
        labels=labels,
        skipped=read.skipped,
        repeated=tuple(kept[row].name for row in measured if read.hashes[row] in known),
        train_names=tuple(kept[row].name for row in learnt),
        held_out_names=tuple(kept[row].name for row in measured),
    )
