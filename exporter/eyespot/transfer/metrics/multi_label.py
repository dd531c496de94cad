"""Metrics of a network that says of each label by itself whether it belongs to the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyespot.transfer.calibration import Reliability, answers, reliability, sigmoid_loss
from eyespot.transfer.metrics.class_scores import ClassScores, class_scores, macro_f1
from eyespot.transfer.metrics.rankings import average_precision


@dataclass(frozen=True)
class MultiLabelMetrics:
    """What is measured of logits (N, K), each of which is a yes above 0.

    Attributes:
        count: Pictures.
        accuracy: Share of all N times K answers that is right.
        exact_accuracy: Share of pictures that got every label right.
        mean_average_precision: Mean over the labels that some picture has.
        loss: Mean negative log likelihood of an answer, in nats.
        macro_f1: Mean over the labels that some picture has.
        classes: By index.
        calibration: Of all answers.
    """

    count: int
    accuracy: float
    exact_accuracy: float
    mean_average_precision: float
    loss: float
    macro_f1: float
    classes: tuple[ClassScores, ...]
    calibration: Reliability
    kind: Literal["multi_label"] = "multi_label"


def measure_labels(
    logits: NDArray[Any], labels: NDArray[np.int64], *, names: Sequence[str]
) -> MultiLabelMetrics:
    """Measure logits (N, K) that were checked, with labels (N, K) of 0 and 1."""
    is_claimed, is_actual = logits > 0, labels == 1
    is_right = is_claimed == is_actual
    areas = [average_precision(logits[:, at], is_actual[:, at]) for at in range(len(names))]
    classes = class_scores(
        names,
        right=(is_claimed & is_actual).sum(axis=0),
        claimed=is_claimed.sum(axis=0),
        actual=is_actual.sum(axis=0),
        average_precisions=areas,
    )
    known = [area for area in areas if area is not None]
    return MultiLabelMetrics(
        count=len(labels),
        accuracy=float(is_right.mean()),
        exact_accuracy=float(is_right.all(axis=1).mean()),
        mean_average_precision=float(np.mean(known or [0.0])),
        loss=sigmoid_loss(logits, labels),
        macro_f1=macro_f1(classes),
        classes=classes,
        calibration=reliability(*answers(logits, labels)),
    )
