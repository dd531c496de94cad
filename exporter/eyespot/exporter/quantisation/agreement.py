"""How far a derived graph is from its source: on pictures, by class and by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.exporter.parity import Batch, Run

Array = NDArray[Any]


@dataclass(frozen=True)
class Agreement:
    """What two graphs answer to the same pictures.

    Attributes:
        top1_agreement: Fraction with the same top class.
        accuracy: Of the derived graph; None where the classes are not known.
        source_accuracy: Of the source.
        max_abs_diff: Largest difference of any output.
        relative_error: Length of the difference over that of the source's outputs.
        pictures: How many.
    """

    top1_agreement: float
    accuracy: float | None
    source_accuracy: float | None
    max_abs_diff: float
    relative_error: float
    pictures: int

    @property
    def accuracy_drop(self) -> float | None:
        """In points; below 0 where the derived graph is the better one."""
        if self.accuracy is None or self.source_accuracy is None:
            return None
        return 100 * (self.source_accuracy - self.accuracy)


class Judge:
    """Knows what the source answers, and compares others with it.

    Args:
        source: Its graph.
        batches: Pictures.
        classes: Of each picture, if they are known.
        class_axis: Of the first output.
    """

    def __init__(
        self,
        source: Run,
        batches: Sequence[Batch],
        *,
        classes: NDArray[np.int64] | None = None,
        class_axis: int,
    ) -> None:
        self._batches = batches
        self._classes = classes
        self._axis = class_axis
        self._expected = [source(*batch.inputs)[0] for batch in batches]

    @property
    def source_accuracy(self) -> float | None:
        """How often the source is right."""
        return self._accuracy(self._expected)

    def compare(self, derived: Run) -> Agreement:
        """Ask a derived graph about the same pictures."""
        found = [derived(*batch.inputs)[0] for batch in self._batches]
        pairs = list(zip(found, self._expected, strict=True))
        same = [np.mean(self._top(a) == self._top(b)) * len(a) for a, b in pairs]
        pictures = sum(map(len, found))
        error = np.sqrt(sum(_energy(a - b) for a, b in pairs))
        length = np.sqrt(sum(_energy(b) for _, b in pairs))
        return Agreement(
            top1_agreement=float(sum(same)) / pictures,
            accuracy=self._accuracy(found),
            source_accuracy=self.source_accuracy,
            max_abs_diff=max(float(np.abs(a - b).max()) for a, b in pairs),
            relative_error=float(error / length) if length else float(error),
            pictures=pictures,
        )

    def _top(self, outputs: Array) -> Array:
        top: Array = outputs.argmax(axis=self._axis)
        return top

    def _accuracy(self, outputs: Sequence[Array]) -> float | None:
        if self._classes is None:
            return None
        return float(
            np.mean(np.concatenate([self._top(each) for each in outputs]) == self._classes)
        )


def _energy(values: Array) -> float:
    return float(np.sum(np.square(values, dtype=np.float64)))
