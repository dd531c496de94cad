"""Metrics of a network that chooses one class of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyespot.transfer.calibration import Reliability, answers, reliability, softmax_loss
from eyespot.transfer.metrics.class_scores import ClassScores, class_scores, macro_f1
from eyespot.transfer.metrics.rankings import area_under_curve

_TOP = 5


@dataclass(frozen=True)
class ClassificationMetrics:
    """What is measured of logits (N, K) where one class of K is right.

    Attributes:
        count: Pictures.
        accuracy: Share whose top class is right.
        top5_accuracy: Share whose class is among the five likeliest; None up to five classes.
        auc: Of two classes the area under the ROC curve, as for a single probability; None for
            more.
        loss: Mean negative log likelihood, in nats.
        macro_f1: Mean over the classes that there are pictures of.
        classes: By index.
        confusion: How many pictures of a class (row) were said to be of another (column).
        calibration: Whether the network is as sure as it is right.
    """

    count: int
    accuracy: float
    top5_accuracy: float | None
    auc: float | None
    loss: float
    macro_f1: float
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: Reliability
    kind: Literal["classification"] = "classification"


def measure_classes(
    logits: NDArray[Any], labels: NDArray[np.int64], *, names: Sequence[str]
) -> ClassificationMetrics:
    """Measure logits (N, K) that were checked, with class indices (N,)."""
    matrix = confusion_matrix(logits.argmax(axis=1), labels, count=len(names))
    classes = class_scores(
        names, right=matrix.diagonal(), claimed=matrix.sum(axis=0), actual=matrix.sum(axis=1)
    )
    return ClassificationMetrics(
        count=len(labels),
        accuracy=float(matrix.trace() / len(labels)),
        top5_accuracy=_top_accuracy(logits, labels) if len(names) > _TOP else None,
        auc=area_under_curve(logits[:, 1] - logits[:, 0], labels == 1) if len(names) == 2 else None,
        loss=softmax_loss(logits, labels),
        macro_f1=macro_f1(classes),
        classes=classes,
        confusion=as_rows(matrix),
        calibration=reliability(*answers(logits, labels)),
    )


def confusion_matrix(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], *, count: int
) -> NDArray[np.int64]:
    """Count pictures by their class (row) and what they were said to be (column)."""
    cells = np.bincount(labels * count + predicted, minlength=count * count)
    matrix: NDArray[np.int64] = cells.reshape(count, count)
    return matrix


def as_rows(matrix: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    """Write a matrix as a value that is equal to its like, and that JSON knows."""
    return tuple(tuple(row) for row in matrix.tolist())


def _top_accuracy(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Share of rows whose class has fewer than five before it; of equals the first is first."""
    own = logits[np.arange(len(labels)), labels][:, None]  # (N, 1)
    is_lower_index = np.arange(logits.shape[1]) < labels[:, None]  # (N, K)
    before = (logits > own) | ((logits == own) & is_lower_index)
    return float((before.sum(axis=1) < _TOP).mean())
