"""How many rows a batch should have: as many as make it answer more rows per second, and no more.

On a GPU a full batch takes little longer than one row, so all that wait should join. On a CPU a
batch of a large network takes as long as its rows one after another, so joining wins nothing, and
makes everyone in it wait for the last row: above all the caller who has sent a single one, beside
one who has sent many. So batches grow step by step (row_times.py), while the next step wins.
What has been found out is tried anew now and then, as a machine may have become another.
"""

from collections import Counter
from collections.abc import Hashable

from eyespot.server.remembered import Remembered
from eyespot.server.row_times import RowTimes

# A row must take a tenth less in the larger batch: less is within what measuring blurs.
_WORTH_IT = 0.9
_TRIED_ANEW_AFTER = 8192  # batches of the same key


class BatchGrowth:
    """Finds the number of rows up to which batches pay, by key.

    Args:
        max_batch_size: most rows of a batch, whatever pays.
        instances: batches that run side by side.
    """

    def __init__(self, max_batch_size: int, *, instances: int = 1) -> None:
        self._max_batch_size = max_batch_size
        self._steps: Remembered[_Steps] = Remembered(lambda: _Steps(instances))

    def most_rows(self, key: Hashable) -> int:
        """How many rows the next batch should have; at first it is 1."""
        steps = self._steps.get(key)
        return 1 if steps is None else min((2 << steps.next) - 1, self._max_batch_size)

    def note(self, key: Hashable, rows: int, seconds: float) -> None:
        """Counts a batch that ran, and how long it kept the device or the processor busy."""
        self._steps[key].note(rows, seconds)


class _Steps:
    """What is known of the batches of one key, and the step that the next one may have."""

    def __init__(self, instances: int) -> None:
        self.next = 0
        self._instances = instances
        self._times = RowTimes()
        self._runs: Counter[int] = Counter()  # by rows
        self._since_trial = 0

    def note(self, rows: int, seconds: float) -> None:
        self._since_trial += 1
        self._runs[rows] += 1
        if self._runs[rows] <= self._instances:
            # The first run of a size allocates, and on a GPU chooses and loads what computes it;
            # those that run beside it wait for that too.
            return
        self._times.note(rows, seconds)
        self.next, is_best = self._find()
        if is_best and self._since_trial >= _TRIED_ANEW_AFTER:
            self._since_trial = 0
            self._times.forget_above(self.next)
            self.next += 1

    def _find(self) -> tuple[int, bool]:
        """The step to run next, and whether what is above is known to win too little."""
        known = self._times.well_known()
        if not known:
            return 0, False
        best, best_seconds = known[0]
        for step, seconds in known[1:]:
            if seconds > _WORTH_IT * best_seconds:
                return best, True
            best, best_seconds = step, seconds
        return best + 1, False
