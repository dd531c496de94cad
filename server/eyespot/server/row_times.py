"""How long a row takes, by the size of its batch: learned from batches that ran. No clock.

Sizes are told apart in steps of two: 1 row, 2 to 3, 4 to 7, 8 to 15 ... Of each step the last few
batches are kept. Their mean without the slowest is what the next one is expected to take: so a
first run, which allocates, or one that the machine interrupted, counts for nothing.
"""

from collections import deque

_KEPT = 8
_ENOUGH = 3  # batches of a step, before anything is concluded from them


class RowTimes:
    """Seconds per row of the batches of one model."""

    def __init__(self) -> None:
        self._kept: dict[int, deque[float]] = {}
        self._means: dict[int, float] = {}  # of the steps that were asked about since their last

    def note(self, rows: int, seconds: float) -> None:
        """Counts a batch that ran."""
        step = rows.bit_length() - 1
        kept = self._kept.get(step)
        if kept is None:
            kept = self._kept[step] = deque(maxlen=_KEPT)
        kept.append(seconds / rows)
        self._means.pop(step, None)

    def forget_above(self, step: int) -> None:
        """Knows nothing more of larger steps."""
        for larger in [known for known in self._kept if known > step]:
            del self._kept[larger]
            self._means.pop(larger, None)

    def seconds(self, rows: int) -> float | None:
        """What a batch is expected to take; None before any has run.

        Of a step that is not known, the one below tells, as if nothing were gained by more rows;
        and where there is none, the one above, as if nothing were gained by fewer.
        """
        if not self._kept:
            return None
        step = rows.bit_length() - 1
        below = [known for known in self._kept if known <= step]
        if below:
            return self._mean(max(below)) * rows
        above = min(self._kept)
        return self._mean(above) * (1 << above)

    def well_known(self) -> list[tuple[int, float]]:
        """The steps of which enough have run, from the smallest, and their seconds per row."""
        return [
            (step, self._mean(step))
            for step in sorted(self._kept)
            if len(self._kept[step]) >= _ENOUGH
        ]

    def _mean(self, step: int) -> float:
        mean = self._means.get(step)
        if mean is None:
            kept = self._kept[step]
            slowest = max(kept) if len(kept) > 1 else 0.0
            mean = self._means[step] = (sum(kept) - slowest) / max(1, len(kept) - 1)
        return mean
