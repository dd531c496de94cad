"""The served graph itself as what methods without gradients compute with."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

_BEST_ROWS = 16


class SessionScorer:
    """Scores by a session; nothing of torch is needed.

    Args:
        run: what the session answers for a batch of inputs.
        output_shape: of its first output, without the rows; -1 is a size that varies.
        channel_axis: of the input, counted with the rows' axis; None when it has none.
        max_rows: most rows that the graph takes at once.
    """

    name = "onnxruntime"

    def __init__(
        self,
        run: Callable[[Array], Array],
        *,
        output_shape: Sequence[int],
        channel_axis: int | None,
        max_rows: int,
    ) -> None:
        self._run = run
        self._max_rows = max_rows
        self.output_shape = tuple(None if size < 0 else size for size in output_shape)
        self.channel_axis = channel_axis

    def rows_at_once(self, row_shape: tuple[int, ...]) -> int:
        """How many rows one call should have."""
        return min(self._max_rows, _BEST_ROWS)

    def scores(self, x: NDArray[np.generic]) -> NDArray[np.float32]:
        """The outputs (B, ...) of a batch."""
        parts = [
            np.asarray(self._run(x[start : start + self._max_rows]), np.float32)
            for start in range(0, len(x), self._max_rows)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
