"""Batch sizes that are held, where each change of size is dear; no clock, no device.

ONNX Runtime's CUDA provider plans every convolution anew when a run has another number of rows
than the one before, seen or not (issue 23006 of onnxruntime): 85 ms for a ResNet-50 that takes 5.
So batches there are filled up to a power of two, which grows at once and shrinks when it has been
twice too large for so long that the rows in vain have cost as much as to plan twice. What fills a
batch up costs little where rows run at once, but not nothing.
"""

from collections.abc import Hashable, Mapping

import numpy as np
from numpy.typing import NDArray

from eyespot.server.remembered import Remembered

Arrays = Mapping[str, NDArray[np.generic]]

# Rows in vain before a smaller size is held: half of them take a ResNet-50 as long as a plan.
_PATIENCE = 512


class HeldRows:
    """Tells how many rows a batch is to be filled up to.

    Args:
        max_batch_size: Most rows of a batch, whether a power of two or not.
    """

    def __init__(self, max_batch_size: int) -> None:
        self._max_batch_size = max_batch_size
        self._held: Remembered[_Held] = Remembered(_Held)

    def rows_for(self, key: Hashable, rows: int) -> int:
        """Rows with which a batch of so many is to run; counts it."""
        return min(self._held[key].rows_for(rows), self._max_batch_size)


class _Held:
    """The size of the batches of one key."""

    def __init__(self) -> None:
        self._rows = 1
        self._in_vain = 0  # rows, of batches in a row that would fit into half
        self._most = 0  # rows of the largest of them

    def rows_for(self, rows: int) -> int:
        if 2 * rows > self._rows:
            self._rows = max(self._rows, _power_of_two(rows))
            self._in_vain = self._most = 0
            return self._rows
        self._in_vain += self._rows - rows
        self._most = max(self._most, rows)
        if self._in_vain >= _PATIENCE:
            self._rows = _power_of_two(self._most)
            self._in_vain = self._most = 0
        return self._rows


def filler(inputs: Arrays, rows: int) -> dict[str, NDArray[np.generic]]:
    """The last row of a request so many times, as a view: rows whose answers nobody gets."""
    return {
        name: np.broadcast_to(array[-1:], (rows, *array.shape[1:]))
        for name, array in inputs.items()
    }


def _power_of_two(rows: int) -> int:
    """The smallest that is at least `rows`."""
    return 1 << (rows - 1).bit_length()
