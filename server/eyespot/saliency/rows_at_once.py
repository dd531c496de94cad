"""How many rows of an input one call should differentiate."""

import math

from eyespot.saliency.errors import MemoryBoundError

# More rows in one call gain nothing on a CPU, and delay whoever wants to stop: so many of the
# size of ImageNet's, and of smaller ones as many as have as many elements, up to a bound.
_BEST_ROWS, MOST_ROWS = 10, 64
_IMAGENET_ELEMENTS = 3 * 224 * 224


def best_rows(row_shape: tuple[int, ...], *, within: int) -> int:
    """How many rows of a shape are best, of those that fit."""
    alike = _BEST_ROWS * _IMAGENET_ELEMENTS // max(1, math.prod(row_shape))
    return min(max(alike, _BEST_ROWS), MOST_ROWS, within)


def row_does_not_fit(
    row_shape: tuple[int, ...], bytes_per_row: int, memory_mib: int | None
) -> MemoryBoundError:
    """Say what one row takes."""
    return MemoryBoundError(
        f"one row of shape {list(row_shape)} takes about {-(-bytes_per_row // 2**20)} MiB to "
        f"differentiate, and {memory_mib} MiB are allowed: send a smaller input, or allow more "
        "with --explain-memory-mib"
    )
