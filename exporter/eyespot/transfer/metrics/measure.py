"""The one door: logits and labels in, the metrics that fit them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

from eyespot.transfer.calibration import checked_labels
from eyespot.transfer.errors import MetricsError
from eyespot.transfer.metrics.classification import ClassificationMetrics, measure_classes
from eyespot.transfer.metrics.multi_label import MultiLabelMetrics, measure_labels
from eyespot.transfer.metrics.probability import ProbabilityMetrics, measure_probability

Metrics: TypeAlias = ClassificationMetrics | MultiLabelMetrics | ProbabilityMetrics


def measure(logits: NDArray[Any], labels: NDArray[Any], *, names: Sequence[str]) -> Metrics:
    """Measure a network by what it said of pictures.

    Args:
        logits: (N, K).
        labels: Class indices (N,), where one class is right; (N, K) of 0 and 1, where each
            label is by itself; 0 or 1 for a single logit (N, 1).
        names: Of the classes, by index; of a single logit the yes, or the no and the yes.

    Raises:
        MetricsError: They do not fit each other, or logits are NaN or infinite.
    """
    labels = checked_labels(logits, labels)
    is_single = logits.shape[1] == 1
    if len(names) != logits.shape[1] and not (is_single and len(names) == 2):
        raise MetricsError(f"{len(names)} names for {logits.shape[1]} classes")
    if is_single:
        return measure_probability(logits, labels, names=names)
    if labels.ndim == 2:
        return measure_labels(logits, labels, names=names)
    return measure_classes(logits, labels, names=names)
