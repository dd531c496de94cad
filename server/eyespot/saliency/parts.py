"""Many rows of work cut into even parts, none larger than is good."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def even_parts(count: int, largest: int) -> Iterator[NDArray[np.int64]]:
    """Cut 0 to `count` into as few parts as there must be, of nearly one size."""
    number = -(-count // largest)
    yield from np.array_split(np.arange(count), number)
