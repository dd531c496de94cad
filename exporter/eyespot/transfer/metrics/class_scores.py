"""Precision, recall and F1 of each class, from counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassScores:
    """How well one class is told from the rest; what would be 0 / 0 is 0.

    Attributes:
        label: Its name.
        support: Pictures that are of it.
        precision: Of the pictures that were said to be of it, the share that is.
        recall: Of the pictures that are of it, the share that was said to be.
        f1: The harmonic mean of the two.
        average_precision: The area under precision over recall, as the threshold falls; None
            where classes exclude each other, or where no picture is of it.
    """

    label: str
    support: int
    precision: float
    recall: float
    f1: float
    average_precision: float | None = None


def class_scores(
    names: Sequence[str],
    *,
    right: NDArray[Any],
    claimed: NDArray[Any],
    actual: NDArray[Any],
    average_precisions: Sequence[float | None] | None = None,
) -> tuple[ClassScores, ...]:
    """Turn counts, each (K,), into scores.

    Args:
        names: Of the classes.
        right: Pictures of a class that were said to be of it.
        claimed: Pictures that were said to be of it.
        actual: Pictures that are of it.
        average_precisions: Where they are known.
    """
    precision, recall = _share(right, claimed), _share(right, actual)
    f1 = _share(2 * right, claimed + actual)
    areas = average_precisions or [None] * len(names)
    return tuple(
        ClassScores(
            label=name,
            support=int(actual[at]),
            precision=float(precision[at]),
            recall=float(recall[at]),
            f1=float(f1[at]),
            average_precision=area,
        )
        for at, (name, area) in enumerate(zip(names, areas, strict=True))
    )


def macro_f1(classes: Sequence[ClassScores]) -> float:
    """Give the mean F1 of the classes that there are pictures of: each counts alike."""
    return float(np.mean([each.f1 for each in classes if each.support] or [0.0]))


def _share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    share: NDArray[np.float64] = part / np.maximum(whole, 1)
    return share
