"""Requests that wait for a session: in which order, for how long, and how many.

The most urgent come first. Equals come in the order of their turns (fairness.py): by arrival
where one caller has sent them all, and otherwise so that no caller waits for another's many. A
request whose time in the queue is over is refused, or waits on behind all others of its priority,
as its policy says. Nothing here is a timer: what is over is seen when its turn comes.
"""

import heapq
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from eyespot.server.errors import DeadlineExceededError
from eyespot.server.fairness import Turns

if TYPE_CHECKING:
    import asyncio

ItemT = TypeVar("ItemT")
OutcomeT = TypeVar("OutcomeT")

# A priority, and whether its time is over: the smaller, the more urgent.
Rank = tuple[int, bool]


class QueuePolicy(NamedTuple):
    """How requests of one priority wait; Triton's ModelQueuePolicy.

    Attributes:
        timeout_seconds: How long; None for as long as it takes.
        allow_timeout_override: Whether a request's own timeout may shorten it.
        delays: Whether a request whose time is over waits on behind the others (DELAY),
            or is refused (REJECT).
        max_queue_size: Most requests that wait; 0 for no bound of its own.
    """

    timeout_seconds: float | None = None
    allow_timeout_override: bool = True
    delays: bool = False
    max_queue_size: int = 0

    def wait_seconds(self, asked: float | None) -> float | None:
        """How long a request waits that asks for a timeout of its own."""
        if asked is None or not self.allow_timeout_override:
            return self.timeout_seconds
        return asked if self.timeout_seconds is None else min(asked, self.timeout_seconds)


@dataclass(slots=True, eq=False)
class Entry(Generic[ItemT, OutcomeT]):
    """One waiting request and the future that its submitter awaits.

    `deadline` is when nobody wants the answer any more, `queue_end` when it has waited long
    enough; both on the batcher's clock.
    """

    item: ItemT
    rows: int
    key: Hashable
    rank: Rank
    deadline: float | None
    queue_end: float | None
    delays: bool
    arrival: float
    ticket: int
    future: "asyncio.Future[OutcomeT]"
    caller: str = ""
    turn: int = 0

    @property
    def priority(self) -> int:
        """The smaller, the more urgent."""
        return self.rank[0]

    def is_live(self, now: float) -> bool:
        """Whether anyone still wants the answer; the expired are told so."""
        if self.future.done():
            return False
        if self.deadline is not None and self.deadline <= now:
            self.fail(expired(now - self.deadline))
            return False
        if self.queue_end is not None and self.queue_end <= now and not self.delays:
            self.fail(_waited_too_long(now - self.arrival))
            return False
        return True

    def must_step_back(self, now: float) -> bool:
        """Whether its time is over, and it has to let the others pass."""
        return self.queue_end is not None and self.queue_end <= now and not self.rank[1]

    def step_back(self) -> None:
        """Let the others of its priority pass."""
        self.rank = self.rank[0], True

    def fail(self, error: BaseException) -> None:
        """Tell the submitter, unless it is answered or gone."""
        if not self.future.done():
            self.future.set_exception(error)


# By turn and ticket: no two tickets are equal, so entries are never compared.
_Place = tuple[int, int, Entry[ItemT, OutcomeT]]


@dataclass(slots=True)
class _Waiting:
    """What one caller has waiting at one priority."""

    requests: int = 0
    rows: int = 0


class RequestQueue(Generic[ItemT, OutcomeT]):
    """Those that wait, apart by key: only equal keys share a batch."""

    def __init__(self) -> None:
        # The innermost lists are heaps.
        self._lanes: dict[Hashable, dict[Rank, list[_Place[ItemT, OutcomeT]]]] = {}
        self._waiting: dict[tuple[int, str], _Waiting] = {}  # by priority and caller
        self._turns = Turns()
        self._count = 0
        self.rows = 0  # of all that wait

    def __len__(self) -> int:
        return self._count

    def count_of(self, priority: int) -> int:
        """How many of one priority wait."""
        return sum(w.requests for (own, _), w in self._waiting.items() if own == priority)

    def rows_ahead(self, priority: int, caller: str) -> int:
        """About how many rows that wait would run before a request that came now."""
        # Of another caller, what begins before this one's turn, and the request that is next.
        lead = self._turns.lead(caller) + 1
        return sum(
            waiting.rows if own < priority or who == caller else min(waiting.rows, lead)
            for (own, who), waiting in self._waiting.items()
            if own <= priority
        )

    def add(self, entry: Entry[ItemT, OutcomeT]) -> None:
        """Put a request behind those that are as urgent and whose turn is before its own."""
        entry.turn = self._turns.next(entry.caller, entry.rows)
        self.put_back([entry])

    def put_back(self, entries: list[Entry[ItemT, OutcomeT]]) -> None:
        """Put requests that were taken back to where they were."""
        for entry in entries:
            heapq.heappush(self._queue_of(entry), (entry.turn, entry.ticket, entry))
            self._note(entry, 1)

    def greediest(self, caller: str) -> Entry[ItemT, OutcomeT] | None:
        """The last request of who has most of them waiting, if a caller has clearly fewer."""
        by_caller: Counter[str] = Counter()
        for (_, who), waiting in self._waiting.items():
            by_caller[who] += waiting.requests
        most, count = max(by_caller.items(), key=lambda item: item[1], default=("", 0))
        if count <= by_caller[caller] + 1:
            return None
        return max((entry for entry in self._all() if entry.caller == most), key=lambda e: e.ticket)

    def discard(self, entry: Entry[ItemT, OutcomeT]) -> None:
        """Take a request out, if it still waits."""
        lane = self._lanes.get(entry.key, {})
        queue = lane.get(entry.rank)
        place = entry.turn, entry.ticket, entry
        if queue is not None and place in queue:
            queue.remove(place)
            heapq.heapify(queue)
            self._note(entry, -1)
            self._tidy(entry.key, entry.rank)

    def take(self, key: Hashable, now: float) -> Entry[ItemT, OutcomeT] | None:
        """Take the most urgent live request of a key."""
        while (lane := self._lanes.get(key)) is not None:
            rank = min(lane) if len(lane) > 1 else next(iter(lane))
            entry = heapq.heappop(lane[rank])[2]
            self._note(entry, -1)
            self._tidy(key, rank)
            if not entry.is_live(now):
                continue
            if entry.must_step_back(now):
                entry.step_back()
                self.put_back([entry])
                continue
            self._turns.begin(entry.turn)
            return entry
        return None

    def keys(self) -> list[Hashable]:
        """The keys, that of the most urgent and oldest request first."""
        if len(self._lanes) < 2:
            return list(self._lanes)
        return sorted(self._lanes, key=self._urgency)

    def drop_dead(self, now: float) -> None:
        """Take out everybody who is gone or whose time is over."""
        for entry in list(self._all()):
            if not entry.is_live(now):
                self.discard(entry)

    def _urgency(self, key: Hashable) -> tuple[Rank, _Place[ItemT, OutcomeT]]:
        lane = self._lanes[key]
        rank = min(lane)
        return rank, lane[rank][0]

    def _all(self) -> Iterator[Entry[ItemT, OutcomeT]]:
        for lane in self._lanes.values():
            for queue in lane.values():
                yield from (entry for _, _, entry in queue)

    def _queue_of(self, entry: Entry[ItemT, OutcomeT]) -> list[_Place[ItemT, OutcomeT]]:
        lane = self._lanes.get(entry.key)
        if lane is None:
            lane = self._lanes[entry.key] = {}
        queue = lane.get(entry.rank)
        if queue is None:
            queue = lane[entry.rank] = []
        return queue

    def _note(self, entry: Entry[ItemT, OutcomeT], change: int) -> None:
        own = entry.rank[0], entry.caller
        waiting = self._waiting.get(own)
        if waiting is None:
            waiting = self._waiting[own] = _Waiting()
        rows = change * entry.rows
        self._count += change
        self.rows += rows
        waiting.requests += change
        waiting.rows += rows
        if not waiting.requests:
            del self._waiting[own]  # callers come and never come again

    def _tidy(self, key: Hashable, rank: Rank) -> None:
        """Keep no empty queues: shapes may come and never come again."""
        lane = self._lanes[key]
        if not lane[rank]:
            del lane[rank]
            if not lane:
                del self._lanes[key]


def expired(seconds: float) -> DeadlineExceededError:
    """What a caller hears whose deadline passed so many seconds ago."""
    return DeadlineExceededError(
        f"the deadline passed {seconds:.3f} s before the request could run"
    )


def too_late(left: float, seconds: float) -> DeadlineExceededError:
    """What a caller hears whose request begins to run too near to its deadline."""
    return DeadlineExceededError(
        f"the deadline is in {left:.3f} s, and to run the request takes {seconds:.3f} s"
    )


def _waited_too_long(seconds: float) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"Request timeout expired: it waited {seconds:.3f} s and could not be run"
    )
