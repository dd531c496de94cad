"""Work-conserving dynamic batching: when requests run, and with whom. No arrays.

An instance that is free takes what has piled up, at once and in order of
arrival: requests of equal keys, up to `max_batch_size` rows. Only when that is
less than a full (or a preferred) batch, and a `max_queue_delay_microseconds` is
set, does it wait for more, counted from the first arrival. Nothing polls: an
arrival, a free instance or the end of that window starts the next batch.

Joining needs no delay on a busy server: handlers that are ready in the same turn
of the event loop submit first, and the batch is formed in the next turn.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from eyespot.server.errors import (
    DeadlineExceededError,
    DrainingError,
    QueueFullError,
    UnavailableError,
)

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class TimerHandle(Protocol):
    """What `call_later` gives back."""

    def cancel(self) -> object:
        """Make the callback not happen."""


class Clock(Protocol):
    """Monotonic seconds and a timer; an asyncio event loop is one."""

    def time(self) -> float:
        """Seconds since some fixed moment."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> TimerHandle:
        """Call back once, `delay` seconds from now."""


class Outcome(NamedTuple, Generic[ResultT]):
    """One request's result and what became of it on the way."""

    result: ResultT
    queue_ns: int  # from arrival to the start of its batch
    compute_ns: int  # from there to the batch's results
    batch_rows: int
    batch_requests: int


@dataclass(slots=True, eq=False)
class _Entry(Generic[ItemT, ResultT]):
    """One waiting request and the future that its submitter awaits."""

    item: ItemT
    rows: int
    key: Hashable
    deadline: float | None
    arrival: float
    ticket: int
    future: "asyncio.Future[Outcome[ResultT]]"

    def is_live(self, now: float) -> bool:
        """Whether anyone still wants the answer; the expired are told so."""
        if self.future.done():
            return False
        if self.deadline is not None and self.deadline <= now:
            self.future.set_exception(_expired(now - self.deadline))
            return False
        return True

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Batcher(Generic[ItemT, ResultT]):
    """Queues requests, and runs them in batches on a number of instances.

    Args:
        execute: runs one batch; its results must number its items. It may finish
            without suspending: then no other task is involved.
        max_batch_size: most rows of a batch; 0 means that requests never join.
        max_queue_delay_microseconds: how long the first arrival may wait for
            company while an instance is free.
        preferred_batch_size: rows that a batch should have; the largest that can be
            formed is taken, and the delay is spent on waiting for one.
        max_queue_size: most requests that wait; more are refused. At least 1.
        instances: batches in flight at once.
        clock: the running event loop unless given.

    Use it from one event loop only.
    """

    def __init__(
        self,
        execute: Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT]]],
        *,
        max_batch_size: int,
        max_queue_delay_microseconds: int = 0,
        preferred_batch_size: Sequence[int] = (),
        max_queue_size: int,
        instances: int = 1,
        clock: Clock | None = None,
    ) -> None:
        if max_batch_size < 0 or max_queue_delay_microseconds < 0:
            raise ValueError("max_batch_size and max_queue_delay_microseconds are 0 or more")
        if max_queue_size < 1 or instances < 1:
            raise ValueError("max_queue_size and instances are 1 or more")
        self._execute = execute
        self._max_batch_size = max_batch_size
        self._delay = max_queue_delay_microseconds / 1e6
        self._preferred = frozenset(preferred_batch_size)
        self._max_queue_size = max_queue_size
        self._instances = instances
        self._clock = clock
        self._lanes: dict[Hashable, deque[_Entry[ItemT, ResultT]]] = {}
        self._waiting = 0
        self._tickets = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_starting = False
        self._is_draining = False
        self._timer: TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None

    @property
    def queue_size(self) -> int:
        """How many requests wait now, without those that run."""
        return self._waiting

    async def submit(
        self,
        item: ItemT,
        *,
        rows: int,
        key: Hashable = None,
        deadline: float | None = None,
    ) -> Outcome[ResultT]:
        """Wait for a place in a batch and for its result.

        Args:
            item: what `execute` gets.
            rows: rows that it adds to a batch.
            key: only items of equal keys share a batch.
            deadline: on the clock; once past, the item is dropped before batching.

        Raises:
            DrainingError: nothing more is admitted.
            QueueFullError: `max_queue_size` requests wait already.
            DeadlineExceededError: the deadline passed before the item could run.
        """
        loop = asyncio.get_running_loop()
        clock = self._clock
        if clock is None:
            clock = self._clock = loop
        now = clock.time()
        self._admit(rows, deadline, now)
        entry: _Entry[ItemT, ResultT] = _Entry(
            item, rows, key, deadline, now, next(self._tickets), loop.create_future()
        )
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
        lane.append(entry)
        self._waiting += 1
        self._wake()
        try:
            return await entry.future
        except asyncio.CancelledError:
            self._forget(entry)
            raise

    async def drain(self) -> None:
        """Admit nothing more, and return when all that was admitted has its answer."""
        self._is_draining = True
        self._wake()
        if self._waiting or self._tasks:
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    def _admit(self, rows: int, deadline: float | None, now: float) -> None:
        if self._is_draining:
            raise DrainingError("the server is shutting down and admits no more requests")
        if rows < 1 or (self._max_batch_size and rows > self._max_batch_size):
            raise ValueError(
                f"a request of {rows} rows came to a batcher of max_batch_size "
                f"{self._max_batch_size}; it must be refused before. This is a bug"
            )
        if deadline is not None and deadline <= now:
            raise _expired(now - deadline)
        if self._waiting >= self._max_queue_size:
            self._drop_dead(now)
            if self._waiting >= self._max_queue_size:
                raise QueueFullError(
                    f"{self._waiting} requests wait already, which is max_queue_size; "
                    "send it again later, or with a longer pause between requests"
                )

    def _drop_dead(self, now: float) -> None:
        for key, lane in list(self._lanes.items()):
            live = deque(entry for entry in lane if entry.is_live(now))
            self._waiting -= len(lane) - len(live)
            if live:
                self._lanes[key] = live
            else:
                del self._lanes[key]

    def _forget(self, entry: _Entry[ItemT, ResultT]) -> None:
        """Take a cancelled entry out of the queue, if it still is in it."""
        if not entry.future.cancelled():
            entry.future.exception()  # the answer came in the same turn; nobody will read it
            return
        lane = self._lanes.get(entry.key)
        if lane is not None and entry in lane:
            lane.remove(entry)
            self._waiting -= 1
            if not lane:
                del self._lanes[entry.key]
        self._settle()

    def _wake(self) -> None:
        """Start an instance in the next turn of the event loop, if one is free."""
        if self._is_starting or not self._waiting or len(self._tasks) >= self._instances:
            return
        self._is_starting = True
        task = asyncio.get_running_loop().create_task(self._serve())
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        if task in self._tasks:  # cancelled before its first step
            self._tasks.remove(task)
            self._is_starting = False
        if task.cancelled():  # as when an executor was shut down under it
            self._wake()
        self._settle()

    def _settle(self) -> None:
        if self._idle is not None and not self._waiting and not self._tasks:
            self._idle.set_result(None)
            self._idle = None

    async def _serve(self) -> None:
        """Be an instance: run batches, one after the other, until none is due."""
        self._is_starting = False
        try:
            while batch := self._take():
                self._wake()  # more may be due than one instance takes
                has_suspended = await self._run(batch)
                if not has_suspended and self._waiting:
                    await asyncio.sleep(0)  # a batch on the event loop must not starve the rest
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.remove(task)  # here and not a turn later: an arrival may need the place

    def _take(self) -> list[_Entry[ItemT, ResultT]]:
        """The next batch that is due; without one, wake up when the first window ends."""
        assert self._clock is not None  # set by the first submit
        now = self._clock.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lanes = list(self._lanes.items())
        if len(lanes) > 1:
            lanes.sort(key=lambda lane: lane[1][0].ticket)
        first_arrivals = []
        for key, lane in lanes:
            batch, is_due = self._form(lane, now)
            if batch and not is_due:
                first_arrivals.append(batch[0].arrival)
                lane.extendleft(reversed(batch))
                self._waiting += len(batch)
            if not lane:
                del self._lanes[key]
            if batch and is_due:
                return batch
        if first_arrivals:
            remaining = max(0.0, min(first_arrivals) + self._delay - now)
            self._timer = self._clock.call_later(remaining, self._end_window)
        return []

    def _end_window(self) -> None:
        self._timer = None
        self._wake()

    def _form(
        self, lane: deque[_Entry[ItemT, ResultT]], now: float
    ) -> tuple[list[_Entry[ItemT, ResultT]], bool]:
        """Take the live entries at the head that fit a batch; say whether it is due."""
        batch: list[_Entry[ItemT, ResultT]] = []
        rows = preferred = 0
        is_full = False
        while lane and not is_full:
            entry = lane[0]
            if not entry.is_live(now):
                lane.popleft()
                self._waiting -= 1
                continue
            if batch and rows + entry.rows > self._max_batch_size:
                is_full = True
                continue
            batch.append(lane.popleft())
            self._waiting -= 1
            rows += entry.rows
            if rows in self._preferred:
                preferred = len(batch)
            is_full = rows >= self._max_batch_size
        if not batch:
            return batch, False
        if preferred:
            lane.extendleft(reversed(batch[preferred:]))
            self._waiting += len(batch) - preferred
            return batch[:preferred], True
        is_due = is_full or self._is_draining or now >= batch[0].arrival + self._delay
        return batch, is_due

    async def _run(self, batch: list[_Entry[ItemT, ResultT]]) -> bool:
        """Execute a batch and answer its entries; say whether execution suspended."""
        assert self._clock is not None
        start = self._clock.time()
        watch: _Watch[Sequence[ResultT]] | None = None
        try:
            watch = _Watch(self._execute([entry.item for entry in batch]))
            results = await watch
        except Exception as error:
            if len(batch) == 1:
                batch[0].fail(error)
            else:
                await self._run_apart(batch)
        except BaseException:
            for entry in batch:
                entry.fail(UnavailableError("the batch was stopped before it had a result"))
            raise
        else:
            self._answer(batch, results, start)
        return watch is not None and watch.has_suspended

    async def _run_apart(self, batch: list[_Entry[ItemT, ResultT]]) -> None:
        """Try each request of a failed batch once more, so that a bad one fails alone."""
        assert self._clock is not None
        for index, entry in enumerate(batch):
            try:
                if entry.is_live(self._clock.time()):
                    await self._run([entry])
            except BaseException:
                for later in batch[index:]:
                    later.fail(UnavailableError("the batch was stopped before it had a result"))
                raise

    def _answer(
        self, batch: list[_Entry[ItemT, ResultT]], results: Sequence[ResultT], start: float
    ) -> None:
        if len(results) != len(batch):
            for entry in batch:
                entry.fail(
                    RuntimeError(
                        f"results must number inputs: {len(results)} results for a batch of "
                        f"{len(batch)} requests. This is a bug"
                    )
                )
            return
        assert self._clock is not None
        compute_ns = round((self._clock.time() - start) * 1e9)
        rows = sum(entry.rows for entry in batch)
        requests = len(batch)
        for entry, result in zip(batch, results, strict=True):
            if not entry.future.done():
                queue_ns = round((start - entry.arrival) * 1e9)
                entry.future.set_result(Outcome(result, queue_ns, compute_ns, rows, requests))


class _Watch(Generic[ResultT]):
    """Awaits something and remembers whether that suspended."""

    __slots__ = ("_awaitable", "has_suspended")

    def __init__(self, awaitable: Awaitable[ResultT]) -> None:
        self._awaitable = awaitable
        self.has_suspended = False

    def __await__(self) -> Generator[Any, Any, ResultT]:
        steps = self._awaitable.__await__()
        try:
            pending = next(steps)
            self.has_suspended = True
            while True:
                try:
                    value = yield pending
                except BaseException as error:
                    pending = steps.throw(error)
                else:
                    pending = steps.send(value)
        except StopIteration as done:
            result: ResultT = done.value
            return result


def _expired(seconds: float) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"the deadline passed {seconds:.3f} s before the request could run"
    )
