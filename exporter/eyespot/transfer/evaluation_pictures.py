"""Pictures to evaluate on: the classes of the data, found among those of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.transfer.data import list_data, load_data
from eyespot.transfer.errors import EvaluationError
from eyespot.transfer.picture_listing import Listed, Listing
from eyespot.transfer.picture_reading import read_pictures
from eyespot.v1.manifest import LABELS_FILE
from eyespot.v1.preprocessing import PreprocessingRule

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class EvaluationPictures:
    """Pictures with their classes, by the indices of the model that is evaluated.

    Attributes:
        images: UINT8 (N, H, W, C), as the model takes them.
        labels: INT64 (N,), or (N, K) of 0 and 1 where a picture may have several classes.
        names: Of the classes; of a model with one output the no and the yes.
        files: What each picture is called.
        skipped: Name and reason of each file that is no usable picture.
        absent: Classes of the model that no picture is of.
        part: Which of the data these are: all of them, or what they hold out.
        rule: That the images were prepared by.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    files: tuple[str, ...]
    skipped: tuple[str, ...]
    absent: tuple[str, ...]
    part: str
    rule: PreprocessingRule

    def __len__(self) -> int:
        return len(self.files)


def load_evaluation_pictures(
    path: Path | str,
    rule: PreprocessingRule,
    *,
    labels: Sequence[str],
    multi_label: bool = False,
    held_out: float | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda total: None,
) -> EvaluationPictures:
    """Read the pictures of data: those held out where the data have such a part, or else all.

    Of data without such a part, a share can be asked for: with the share and the seed that a
    network was trained with, it is what that training did not see.

    Args:
        path: Data of any kind that `load_data` takes.
        rule: The model's; it must give all pictures one size.
        labels: Of the model's outputs. The data may lack some of them, but not have others.
        multi_label: Whether a picture may have any number of classes.
        held_out: Share of each class, chosen as `load_data` chooses; None takes all.
        seed: Of that choice.
        progress: Called after each picture that is read, with how many there are.

    Raises:
        ExamplesError: There is no such data, or the share is none.
        EvaluationError: The data have classes that the model has not, no picture can be read,
            or the rule gives pictures of many sizes.
    """
    if rule.size is None:
        raise EvaluationError(
            "the model takes pictures of any size, one by one: it can be evaluated only where "
            "its rule brings them to one size"
        )
    listing = list_data(Path(path), multi_label)
    names = _names(listing, labels)
    index = _index(listing, labels, names)
    if held_out is not None and listing.measured is None:
        split = load_data(
            path, rule, held_out=held_out, seed=seed, multi_label=multi_label, progress=progress
        )
        images, files, skipped = split.held_out.images, split.held_out_names, split.skipped
        targets = _moved(split.held_out.labels, [index[name] for name in split.labels], len(names))
        part = f"{100 * held_out:g}% held out by seed {seed}"
    else:
        listed = listing.learnt if listing.measured is None else listing.measured
        read = read_pictures(listed, rule, progress=progress)
        kept = [listed[at] for at in read.kept]
        if not kept:
            raise EvaluationError(f"{path} has no picture that can be read{_such_as(read.skipped)}")
        images, files, skipped = read.images, tuple(each.name for each in kept), read.skipped
        targets = _targets(kept, index, count=len(names), multi_label=multi_label)
        part = "all" if listing.measured is None else "held out"
    present = {names[at] for at in _present(targets)}
    return EvaluationPictures(
        images=images,
        labels=targets,
        names=names,
        files=files,
        skipped=skipped,
        absent=tuple(name for name in names if name not in present),
        part=part,
        rule=rule,
    )


def _names(listing: Listing, labels: Sequence[str]) -> tuple[str, ...]:
    """Name the classes; the no of a model with one output is what the data call it."""
    if len(labels) > 1:
        return tuple(labels)
    others = [name for name in listing.labels if name != labels[0]]
    if labels[0] not in listing.labels or len(others) != 1:
        raise EvaluationError(
            f"the model has one output, {labels[0]!r}: the data must have that class and one "
            f"other, found {_some(listing.labels)}"
        )
    return others[0], labels[0]


def _index(listing: Listing, labels: Sequence[str], names: tuple[str, ...]) -> dict[str, int]:
    unknown = [name for name in listing.labels if name not in names]
    if unknown:
        raise EvaluationError(
            f"the data have classes that the model has not: {_some(unknown)}; the model's are "
            f"{_some(labels)}{_without_labels(labels)}"
        )
    counts = Counter(names)
    repeated = [name for name in listing.labels if counts[name] > 1]
    if repeated:
        raise EvaluationError(
            f"several classes of the model have the same name: {_some(repeated)}; which of them "
            "a picture is of cannot be told"
        )
    return {name: at for at, name in enumerate(names)}


def _without_labels(labels: Sequence[str]) -> str:
    """Say what to do where the classes of the model have numbers and no names."""
    if any(name != str(index) for index, name in enumerate(labels)):
        return ""
    return (
        "; if it has no labels, export it with --labels, or put them, one a line, into "
        f'{LABELS_FILE} beside its config.pbtxt, and label_filename: "{LABELS_FILE}" into the '
        "output there"
    )


def _targets(
    listed: Sequence[Listed], index: dict[str, int], *, count: int, multi_label: bool
) -> NDArray[np.int64]:
    if not multi_label:
        return np.array([index[each.classes[0]] for each in listed], np.int64)
    targets = np.zeros((len(listed), count), np.int64)
    for row, each in enumerate(listed):
        targets[row, [index[name] for name in each.classes]] = 1
    return targets


def _moved(labels: NDArray[Any], where: Sequence[int], count: int) -> NDArray[np.int64]:
    """Turn labels (N,) or (N, K) by the indices of the data into those of the model."""
    moved: NDArray[np.int64]
    if labels.ndim == 1:
        moved = np.array(where, np.int64)[labels]
        return moved
    moved = np.zeros((len(labels), count), np.int64)
    moved[:, list(where)] = labels
    return moved


def _present(targets: NDArray[np.int64]) -> NDArray[Any]:
    return np.unique(targets) if targets.ndim == 1 else np.flatnonzero(targets.any(axis=0))


def _such_as(skipped: Sequence[str]) -> str:
    return f" ({len(skipped)} skipped, such as {skipped[0]})" if skipped else ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
