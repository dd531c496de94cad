"""How many rows of an input one call should differentiate."""

import math

# More rows in one call gain nothing on a CPU, and delay whoever wants to stop: so many of the
# size of ImageNet's, and of smaller ones as many as have as many elements, up to a bound.
_BEST_ROWS, MOST_ROWS = 10, 64
_IMAGENET_ELEMENTS = 3 * 224 * 224


def best_rows(row_shape: tuple[int, ...]) -> int:
    """How many rows of a shape are best."""
    alike = _BEST_ROWS * _IMAGENET_ELEMENTS // max(1, math.prod(row_shape))
    return min(max(alike, _BEST_ROWS), MOST_ROWS)
