"""What fine-tuning minimises: one class of several, several at once, or a single probability.

Targets are soft, (B, outputs) with values in [0, 1], so that pictures can be mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from eyespot.transfer.errors import ExamplesError, SettingsError

Task = Literal["classes", "multi-label", "single-probability"]


@dataclass(frozen=True, eq=False)
class Objective:
    """A loss with its way from labels to targets.

    Attributes:
        task: "classes" is a cross entropy over all outputs; "multi-label" a binary one for each
            label; "single-probability" a binary one of one output, that of the second class.
        labels: How many classes or labels there are.
        class_weights: One for each, of the errors made on its pictures (for "multi-label": on
            the pictures that have the label); None weighs all alike.
        label_smoothing: The share of a target that is spread over all outcomes.
    """

    task: Task
    labels: int
    class_weights: Sequence[float] | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise SettingsError(
                f"task must be one of {', '.join(get_args(Task))}, found {self.task!r}"
            )
        if self.task == "single-probability" and self.labels != 2:
            raise SettingsError(
                "a single probability tells two classes apart, the data has "
                f"{self.labels}: leave out --single-probability"
            )
        if not 0 <= self.label_smoothing < 1:
            raise SettingsError(f"label_smoothing must lie in [0, 1), found {self.label_smoothing}")

    @property
    def outputs(self) -> int:
        """How many logits the network must give."""
        return 1 if self.task == "single-probability" else self.labels

    def targets(self, labels: NDArray[Any]) -> Tensor:
        """Turn labels into float32 targets (B, outputs).

        Args:
            labels: Class indices (B,), or for "multi-label" 0 and 1 of each label (B, labels).

        Raises:
            ExamplesError: They have another shape, or a class has no output.
        """
        values = torch.from_numpy(np.ascontiguousarray(labels))
        if self.task == "multi-label":
            if values.ndim != 2 or values.shape[1] != self.labels:
                raise ExamplesError(
                    f"multi-label needs {self.labels} values of 0 or 1 for each picture, found "
                    f"labels of shape {tuple(labels.shape)}"
                )
            return values.to(torch.float32)
        if values.ndim != 1 or int(values.max()) >= self.labels:
            raise ExamplesError(
                f"each picture needs one class below {self.labels}, found labels of shape "
                f"{tuple(labels.shape)} up to {int(values.max())}"
            )
        if self.task == "single-probability":
            return values.to(torch.float32)[:, None]  # -> (B, 1)
        return functional.one_hot(values.to(torch.int64), self.labels).to(torch.float32)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Give the mean loss of a batch, a scalar, of logits and targets (B, outputs)."""
        weights = None
        if self.class_weights is not None:
            weights = logits.new_tensor(list(self.class_weights))
        logits = logits.float()
        if self.task == "classes":
            return functional.cross_entropy(
                logits, targets, weight=weights, label_smoothing=self.label_smoothing
            )
        soft = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        if self.task == "multi-label":
            return functional.binary_cross_entropy_with_logits(logits, soft, pos_weight=weights)
        each = None if weights is None else weights[0] + (weights[1] - weights[0]) * targets
        return functional.binary_cross_entropy_with_logits(logits, soft, weight=each)

    def right(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Give for each row the share of its answers that are right: (B, outputs) -> (B,)."""
        if self.task == "classes":
            return (logits.argmax(dim=1) == targets.argmax(dim=1)).float()
        return ((logits > 0) == (targets > 0.5)).float().mean(dim=1)
