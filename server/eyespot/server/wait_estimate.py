"""How long a request will wait for its answer, told before it is admitted.

What is known is how long batches take (row_times.py) and how many rows are ahead. Batches run side
by side on the instances of a model, so one of them becomes free after every `seconds / instances`;
when the request arrives, the next one is half as far away. Where nothing has run yet, nothing is
known.

An estimate is no promise, and an answer that is a little late is as useless as none: so each is
told with caution, a factor that is learned. It grows with each answer that comes late and shrinks
a little with each that does not, and so it stays where about one in a hundred is late (Robbins and
Monro, A Stochastic Approximation Method, 1951).
"""

from collections.abc import Hashable

from eyespot.server.remembered import Remembered
from eyespot.server.row_times import RowTimes

_FIRST_CAUTION, _LEAST_CAUTION, _MOST_CAUTION = 1.25, 1.1, 8.0
_GROWTH, _SHRINKAGE = 1.05, 0.9995  # balanced where one answer in a hundred is late


class WaitEstimate:
    """Learns how long the batches of one model take.

    Args:
        instances: batches in flight at once.
    """

    def __init__(self, instances: int) -> None:
        self._instances = instances
        self._all = RowTimes()  # whatever is ahead
        self._own: Remembered[RowTimes] = Remembered(RowTimes)
        self._caution = _FIRST_CAUTION

    def note(self, key: Hashable, rows: int, seconds: float) -> None:
        """Counts a batch that ran, from its start to its results."""
        self._all.note(rows, seconds)
        self._own[key].note(rows, seconds)

    def note_answer(self, *, is_late: bool) -> None:
        """Counts an answer that had a deadline."""
        caution = self._caution * (_GROWTH if is_late else _SHRINKAGE)
        self._caution = min(max(caution, _LEAST_CAUTION), _MOST_CAUTION)

    def of_batch(self, key: Hashable, rows: int) -> float | None:
        """Seconds that a batch takes, with caution."""
        seconds = self._seconds_of_batch(key, rows)
        return None if seconds is None else seconds * self._caution

    def of_answer(
        self, key: Hashable, rows: int, *, rows_ahead: int, batch_rows: int
    ) -> float | None:
        """Seconds until the answer of a request, with caution.

        Args:
            key: of the request.
            rows: of the request.
            rows_ahead: of those that run before it.
            batch_rows: that a batch may have.
        """
        full = self._all.seconds(batch_rows)
        own = self._seconds_of_batch(key, max(rows, min(batch_rows, rows_ahead + rows)))
        if full is None or own is None:
            return None
        batches_ahead = rows_ahead // batch_rows + 0.5
        return (batches_ahead * full / self._instances + own) * self._caution

    def of_queue(self, rows: int, *, batch_rows: int) -> float | None:
        """Seconds until so many waiting rows have been run."""
        full = self._all.seconds(batch_rows)
        return None if full is None else rows / batch_rows * full / self._instances

    def _seconds_of_batch(self, key: Hashable, rows: int) -> float | None:
        own = self._own.get(key)
        return None if own is None else own.seconds(rows)
