"""Metrics: how often a network is right, in what it errs, and whether it knows."""

from eyespot.transfer.metrics.class_scores import ClassScores
from eyespot.transfer.metrics.classification import ClassificationMetrics
from eyespot.transfer.metrics.measure import Metrics, measure
from eyespot.transfer.metrics.multi_label import MultiLabelMetrics
from eyespot.transfer.metrics.probability import ProbabilityMetrics

__all__ = [
    "ClassScores",
    "ClassificationMetrics",
    "Metrics",
    "MultiLabelMetrics",
    "ProbabilityMetrics",
    "measure",
]
