"""How well scores put the pictures that are of a class before those that are not.

Neither figure depends on a threshold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def average_precision(scores: NDArray[Any], is_actual: NDArray[np.bool_]) -> float | None:
    """Sum precision over the gains of recall as the threshold falls; None without any actual.

    Nothing is interpolated; scores (N,) that are equal pass the threshold together.
    """
    if not is_actual.any():
        return None
    order = np.argsort(-scores, kind="stable")
    sorted_scores = scores[order]
    is_last_of_equals = np.append(sorted_scores[1:] != sorted_scores[:-1], True)
    found = np.cumsum(is_actual[order])[is_last_of_equals]
    claimed = np.flatnonzero(is_last_of_equals) + 1
    gains = np.diff(found, prepend=0) / is_actual.sum()
    return float((gains * found / claimed).sum())


def area_under_curve(scores: NDArray[Any], is_actual: NDArray[np.bool_]) -> float | None:
    """Count the pairs of a yes and a no in which the yes scores more; equals count half."""
    yes, no = np.sort(scores[is_actual]), scores[~is_actual]
    if not len(yes) or not len(no):
        return None
    above = len(yes) - np.searchsorted(yes, no, side="right")
    equal = np.searchsorted(yes, no, side="right") - np.searchsorted(yes, no, side="left")
    return float((above + equal / 2).sum() / (len(yes) * len(no)))
