"""Which requests a batcher lets in: those that fit, for which there is room, and in time.

Where the queue is full, who has most in it makes room for who has less.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from eyespot.server.errors import ASK_AGAIN_SECONDS, QueueFullError, WaitTooLongError
from eyespot.server.queueing import Entry, QueuePolicy, RequestQueue, expired
from eyespot.server.wait_estimate import WaitEstimate

ItemT = TypeVar("ItemT")
OutcomeT = TypeVar("OutcomeT")


class Admission(Generic[ItemT, OutcomeT]):
    """Stands before a queue.

    Args:
        queue: The requests that wait.
        max_batch_size: Most rows of a batch; 0 means that requests never join.
        max_queue_size: Most requests that wait.
        most_rows: Up to how many rows batches of a key pay.
        estimate: Tells how long a request will wait; without one, none is refused for that.
    """

    def __init__(
        self,
        queue: RequestQueue[ItemT, OutcomeT],
        *,
        max_batch_size: int,
        max_queue_size: int,
        most_rows: Callable[[Hashable], int],
        estimate: WaitEstimate | None,
    ) -> None:
        self._queue = queue
        self._max_batch_size = max_batch_size
        self._max_queue_size = max_queue_size
        self._most_rows = most_rows
        self._estimate = estimate

    def check(self, entry: Entry[ItemT, OutcomeT], policy: QueuePolicy) -> None:
        """Make sure that a request may wait.

        Raises:
            QueueFullError: As many wait already as may.
            WaitTooLongError: So many wait that the answer would come after the deadline.
            DeadlineExceededError: The deadline is over.
        """
        rows, now = entry.rows, entry.arrival
        if rows < 1 or (self._max_batch_size and rows > self._max_batch_size):
            raise ValueError(
                f"a request of {rows} rows came to a batcher of max_batch_size "
                f"{self._max_batch_size}; it must be refused before. This is a bug"
            )
        if entry.deadline is not None:
            if entry.deadline <= now:
                raise expired(now - entry.deadline)
            self._check_wait(entry, entry.deadline - now)
        if self._is_full(entry.priority, policy):
            self._queue.drop_dead(now)
            if self._is_full(entry.priority, policy):
                self._make_room(entry.priority, policy, entry.caller)

    def _check_wait(self, entry: Entry[ItemT, OutcomeT], left: float) -> None:
        """Refuse what cannot be answered in the time that is left.

        Where nobody waits all are admitted: what was learned in a bad hour must not last.
        """
        if self._estimate is None or not self._queue:
            return
        seconds = self._estimate.of_answer(
            entry.key,
            entry.rows,
            rows_ahead=self._queue.rows_ahead(entry.priority, entry.caller),
            batch_rows=self._most_rows(entry.key),
        )
        if seconds is not None and seconds > left:
            raise WaitTooLongError(
                f"the answer is expected in {seconds:.3f} s, and the deadline is in {left:.3f} s; "
                f"{len(self._queue)} requests wait",
                wait_seconds=seconds - left,
            )

    def _make_room(self, priority: int, policy: QueuePolicy, caller: str) -> None:
        """Refuse the last request of who has most of them waiting, if a caller has fewer."""
        is_for_all = not self._is_full_of_its_own(priority, policy)
        greediest = self._queue.greediest(caller) if is_for_all else None
        if greediest is None:
            raise self._queue_full()
        greediest.fail(self._queue_full())
        self._queue.discard(greediest)

    def _queue_full(self) -> QueueFullError:
        wait = None
        if self._estimate is not None:
            most_rows = max(1, self._max_batch_size)
            wait = self._estimate.of_queue(self._queue.rows, batch_rows=most_rows)
        return QueueFullError(
            f"{len(self._queue)} requests wait already, which is max_queue_size; "
            "send it again later, or with a longer pause between requests",
            wait_seconds=ASK_AGAIN_SECONDS if wait is None else wait,
        )

    def _is_full(self, priority: int, policy: QueuePolicy) -> bool:
        is_full = len(self._queue) >= self._max_queue_size
        return is_full or self._is_full_of_its_own(priority, policy)

    def _is_full_of_its_own(self, priority: int, policy: QueuePolicy) -> bool:
        return 0 < policy.max_queue_size <= self._queue.count_of(priority)
