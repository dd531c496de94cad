"""Rows in parts that fit: where a device's memory does not suffice, halves are tried."""

import logging
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

PartT = TypeVar("PartT")
_logger = logging.getLogger(__name__)


def run_in_parts(
    run: Callable[[NDArray[np.int64]], PartT], *, rows: int, at_once: int
) -> list[PartT]:
    """Run all rows, some at a time; what did not fit at once is not tried so again.

    Args:
        run: Takes the numbers of the rows of a part.
        rows: How many there are.
        at_once: Most rows of a part.

    Raises:
        torch.OutOfMemoryError: Not even one row fits.
    """
    parts: list[PartT] = []
    start = 0
    while start < rows:
        index = np.arange(start, min(start + at_once, rows))
        if fits := _run_if_it_fits(run, index):
            parts += fits
            start += len(index)
        else:
            at_once = len(index) // 2
            torch.cuda.empty_cache()  # what was left free in pieces, whole again
            _logger.warning("memory did not suffice for %d rows at once", len(index))
    return parts


def _run_if_it_fits(
    run: Callable[[NDArray[np.int64]], PartT], index: NDArray[np.int64]
) -> list[PartT]:
    """The part, or nothing; what the failed run held goes with its error, at the end of this."""
    try:
        return [run(index)]
    except torch.OutOfMemoryError:
        if len(index) == 1:
            raise
        return []
