"""Batches that fit into memory: one that does not is run in halves, and what fits is remembered.

What fits is counted in bytes of the inputs, so that it also holds for pictures of another size.
It is remembered as long as the session is, and doubled again every five minutes that something
larger is asked for: neighbours on a device come and go, and trying in vain costs one failed run.
"""

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from eyespot.server.errors import ResourceExhaustedError

Arrays = Mapping[str, NDArray[np.generic]]

_PATIENCE_SECONDS = 300.0
# What ONNX Runtime's allocators, CUDA, cuBLAS, cuDNN and PyTorch say: there is no common class.
_SIGNS = (
    "Failed to allocate memory",
    "Available memory of",
    "out of memory",
    "ALLOC_FAILED",
    "bad_alloc",
    "bad allocation",
    "can't allocate memory",
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a run failed because memory did not suffice."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _SIGNS)


class MemoryFit:
    """Runs batches of one session; its threads may share it.

    Args:
        run: Runs the session once.
        is_batched: Whether the first axis of every input and output is that of rows.
        on_shortage: Told the rows that are tried next, each time that memory did not suffice.
        now: Monotonic seconds.
    """

    def __init__(
        self,
        run: Callable[[Arrays], dict[str, NDArray[np.generic]]],
        *,
        is_batched: bool,
        on_shortage: Callable[[int], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._is_batched = is_batched
        self._on_shortage = on_shortage
        self._now = now
        self._most_bytes: float | None = None  # of inputs; None: whatever came did fit
        self._next_try = 0.0

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        """Run the graph on all rows, at once or in parts; blocks.

        Raises:
            ResourceExhaustedError: One row is too large.
        """
        rows = len(next(iter(inputs.values()))) if self._is_batched else 1
        size = self._rows_that_fit(inputs, rows)
        parts: list[dict[str, NDArray[np.generic]]] = []
        start = 0
        while start < rows:
            part = inputs if size >= rows else _slice(inputs, start, start + size)
            try:
                parts.append(self._run(part))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                size = self._halve(inputs, rows, min(size, rows - start), error)
            else:
                start += size
        return parts[0] if len(parts) == 1 else _join(parts)

    def _rows_that_fit(self, inputs: Arrays, rows: int) -> int:
        if self._most_bytes is None:
            return rows
        wanted = _bytes(inputs)
        if wanted > self._most_bytes and self._now() >= self._next_try:
            self._most_bytes *= 2
            self._next_try = self._now() + _PATIENCE_SECONDS
        return rows if wanted <= self._most_bytes else max(1, int(self._most_bytes * rows / wanted))

    def _halve(self, inputs: Arrays, rows: int, size: int, error: Exception) -> int:
        if size < 2:
            self._on_shortage(0)
            raise ResourceExhaustedError(
                "one row needs more memory than there is: send a smaller one, or try again later"
            ) from error
        size //= 2
        self._most_bytes = _bytes(inputs) * size / rows
        self._next_try = self._now() + _PATIENCE_SECONDS
        self._on_shortage(size)
        return size


def _bytes(inputs: Arrays) -> int:
    return sum(array.nbytes for array in inputs.values())


def _slice(inputs: Arrays, start: int, end: int) -> Arrays:
    return {name: array[start:end] for name, array in inputs.items()}


def _join(parts: list[dict[str, NDArray[np.generic]]]) -> dict[str, NDArray[np.generic]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
