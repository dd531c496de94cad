"""Keeps the memory of a session whose inputs vary in size near to what it usually needs.

ONNX Runtime's arena never gives back what it once has taken: one huge picture is paid for until
the end. So a run on rows that are much larger than usual is told to shrink the arena after it.
Where and why: docs/decisions/memory-of-varying-sizes.md.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MUCH_LARGER = 4.0
_WEIGHT = 0.05  # of the last run in what is usual


class Arena:
    """Says which runs are to shrink the arena; threads may share it.

    Args:
        shrinking: The runtime's options for such a run.
    """

    def __init__(self, shrinking: Any) -> None:
        self._shrinking = shrinking
        self._usual = 0.0  # bytes of the inputs, for each row

    def options_for(self, inputs: Mapping[str, NDArray[np.generic]]) -> Any:
        """The options for a run on these inputs; None is for the usual ones."""
        size = sum(array.nbytes / max(1, len(array)) for array in inputs.values() if array.ndim)
        most = _MUCH_LARGER * self._usual
        if not self._usual:
            self._usual = size
            return None
        # A giant counts for no more than `most`: it takes several until they are usual.
        self._usual += _WEIGHT * (min(size, most) - self._usual)
        return self._shrinking if size > most else None
