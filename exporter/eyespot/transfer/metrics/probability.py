"""Metrics of a network with one logit: hot dog, or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyespot.transfer.calibration import Reliability, answers, reliability, sigmoid_loss
from eyespot.transfer.metrics.class_scores import ClassScores, class_scores, macro_f1
from eyespot.transfer.metrics.classification import as_rows, confusion_matrix
from eyespot.transfer.metrics.rankings import area_under_curve


@dataclass(frozen=True)
class ProbabilityMetrics:
    """What is measured of logits (N, 1), each of which is a yes above 0.

    Attributes:
        count: Pictures.
        accuracy: Share that is right.
        auc: Area under the ROC curve: how often a yes has a larger logit than a no; None
            where there are only the one or the other.
        loss: Mean negative log likelihood, in nats.
        macro_f1: Mean over the two.
        classes: The no, then the yes.
        confusion: How many pictures of a class (row) were said to be of another (column).
        calibration: Whether the network is as sure as it is right.
    """

    count: int
    accuracy: float
    auc: float | None
    loss: float
    macro_f1: float
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: Reliability
    kind: Literal["probability"] = "probability"


def measure_probability(
    logits: NDArray[Any], labels: NDArray[np.int64], *, names: Sequence[str]
) -> ProbabilityMetrics:
    """Measure logits (N, 1) that were checked, with labels (N,) or (N, 1) of 0 and 1.

    Args:
        logits: Of the yes.
        labels: 1 for a yes.
        names: Of the no and the yes, or of the yes only.
    """
    if len(names) == 1:
        names = (f"not {names[0]}", names[0])
    labels = labels.reshape(-1)
    matrix = confusion_matrix((logits[:, 0] > 0).astype(np.int64), labels, count=2)
    classes = class_scores(
        names, right=matrix.diagonal(), claimed=matrix.sum(axis=0), actual=matrix.sum(axis=1)
    )
    return ProbabilityMetrics(
        count=len(labels),
        accuracy=float(matrix.trace() / len(labels)),
        auc=area_under_curve(logits[:, 0], labels == 1),
        loss=sigmoid_loss(logits[:, 0], labels),
        macro_f1=macro_f1(classes),
        classes=classes,
        confusion=as_rows(matrix),
        calibration=reliability(*answers(logits, labels[:, None])),
    )
