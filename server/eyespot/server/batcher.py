"""Work-conserving dynamic batching: when requests run, and with whom. No arrays.

An instance that is free takes what has piled up, at once and in order of
arrival: requests of equal keys, up to `max_batch_size` rows. Only when that is
less than a full (or a preferred) batch, and a `max_queue_delay_microseconds` is
set, does it wait for more, counted from the first arrival. Nothing polls: an
arrival, a free instance or the end of that window starts the next batch.

A batch has no more rows than pay (batch_growth.py), and what cannot be answered in time is
refused, or dropped before it runs (wait_estimate.py), where a batcher is given these.

Joining needs no delay on a busy server: handlers that are ready in the same turn
of the event loop submit first, and the batch is formed in the next turn. Where
batches run on the event loop itself (`execute_now`), though, nothing piles up meanwhile:
there a batch waits for company where there was some before (gathering.py), and a request
that need not wait is answered before `submit` returns, without another turn.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from eyespot.server.admission import Admission
from eyespot.server.answer_order import AnswerOrder
from eyespot.server.batch_growth import BatchGrowth
from eyespot.server.errors import DrainingError, FaultError, UnavailableError
from eyespot.server.gathering import WINDOW_SECONDS, Gathering
from eyespot.server.queueing import Entry, QueuePolicy, RequestQueue, too_late
from eyespot.server.wait_estimate import WaitEstimate

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


async def _as_it_is(error: Exception) -> Exception:
    return error


class Batcher(Generic[ItemT, ResultT]):
    """Queues requests, and runs them in batches on a number of instances.

    Args:
        execute: runs one batch; its results must number its items.
        execute_now: does so at once, for a batch that is so little work that the event loop may
            wait for it; where it raises, `judge` and then `execute` have the next word.
        judge: says what the callers are told of an error of `execute_now`.
        max_batch_size: most rows of a batch; 0 means that requests never join.
        max_queue_delay_microseconds: how long the first arrival may wait for
            company while an instance is free.
        preferred_batch_size: rows that a batch should have; the largest that can be
            formed is taken, and the delay is spent on waiting for one.
        max_queue_size: most requests that wait; more are refused. At least 1.
        default_policy: how requests wait whose priority has no policy of its own.
        policies: how those of a priority wait.
        priority_levels: priorities are from 1, the most urgent, to this; 0 for none.
        default_priority_level: of requests that name none, or one that there is not.
        preserve_ordering: answers are given in the order in which requests came, whatever
            ran first.
        gathering: tells how many requests a batch waits for, for a moment; without effect
            beside a delay or preferred sizes.
        instances: batches in flight at once.
        growth: tells up to how many rows batches pay; max_batch_size always, unless given.
        estimate: tells how long a request will wait; unless given, none is refused for that.
        clock: the running event loop unless given.

    Use it from one event loop only.
    """

    def __init__(
        self,
        execute: Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT]]],
        *,
        execute_now: Callable[[Sequence[ItemT]], Sequence[ResultT]] | None = None,
        judge: Callable[[Exception], Awaitable[Exception]] = _as_it_is,
        max_batch_size: int,
        max_queue_delay_microseconds: int = 0,
        preferred_batch_size: Sequence[int] = (),
        max_queue_size: int,
        default_policy: QueuePolicy | None = None,
        policies: Mapping[int, QueuePolicy] | None = None,
        priority_levels: int = 0,
        default_priority_level: int = 0,
        preserve_ordering: bool = False,
        gathering: Gathering | None = None,
        instances: int = 1,
        growth: BatchGrowth | None = None,
        estimate: WaitEstimate | None = None,
        clock: Clock | None = None,
    ) -> None:
        if max_batch_size < 0 or max_queue_delay_microseconds < 0:
            raise ValueError("max_batch_size and max_queue_delay_microseconds are 0 or more")
        if max_queue_size < 1 or instances < 1:
            raise ValueError("max_queue_size and instances are 1 or more")
        self._execute = execute
        self._execute_now = execute_now
        self._judge = judge
        self._max_batch_size = max_batch_size
        self._delay = max_queue_delay_microseconds / 1e6
        self._preferred = frozenset(preferred_batch_size)
        self._default_policy = default_policy or QueuePolicy()
        self._policies = dict(policies or {})
        self._priority_levels = priority_levels
        self._default_priority_level = default_priority_level
        self._order = AnswerOrder() if preserve_ordering else None
        is_told = preferred_batch_size or max_queue_delay_microseconds
        self._gathering = None if is_told else gathering
        self._has_waited = False  # for company, until its window was over
        self._instances = instances
        self._growth = growth
        self._estimate = estimate
        self._clock = clock
        self._queue: RequestQueue[ItemT, Outcome[ResultT]] = RequestQueue()
        self._admission = Admission(
            self._queue,
            max_batch_size=max_batch_size,
            max_queue_size=max_queue_size,
            most_rows=self._most_rows,
            estimate=estimate,
        )
        self._tickets = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_starting = False
        self._is_draining = False
        self._timer: TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None

    @property
    def queue_size(self) -> int:
        """How many requests wait now, without those that run."""
        return len(self._queue)

    async def submit(
        self,
        item: ItemT,
        *,
        rows: int,
        key: Hashable = None,
        deadline: float | None = None,
        priority: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109 - it bounds the queue, not the answer
        caller: str = "",
    ) -> Outcome[ResultT]:
        """Wait for a place in a batch and for its result.

        Args:
            item: what `execute` gets.
            rows: rows that it adds to a batch.
            key: only items of equal keys share a batch.
            deadline: on the clock; once past, the item is dropped before batching.
            priority: 1 is the most urgent; 0 for the default.
            timeout: seconds that the item would wait; the policy of its priority decides.
            caller: whose item it is: callers take turns, and where the queue is full, who has
                most in it makes room for who has less.

        Raises:
            DrainingError: nothing more is admitted.
            QueueFullError: as many requests wait already as may.
            WaitTooLongError: so many wait that the answer would come after the deadline.
            DeadlineExceededError: the deadline or the timeout passed before the item could run.
        """
        loop = asyncio.get_running_loop()
        clock = self._clock
        if clock is None:
            clock = self._clock = loop
        now = clock.time()
        priority = self._priority(priority)
        policy = self._policies.get(priority, self._default_policy)
        wait = policy.wait_seconds(timeout)
        entry: Entry[ItemT, Outcome[ResultT]] = Entry(
            item,
            rows,
            key,
            (priority, False),
            deadline,
            None if wait is None else now + wait,
            policy.delays,
            now,
            next(self._tickets),
            loop.create_future(),
            caller,
        )
        if self._is_draining:
            raise DrainingError("the server is shutting down and admits no more requests")
        self._admission.check(entry, policy)
        if self._is_due_alone():
            self._note_company([entry])
            self._run_now([entry])
        else:
            self._queue.add(entry)
            self._wake()
        if self._order is None:
            return await self._outcome(entry)
        return await self._order.keep(self._outcome(entry))

    async def drain(self) -> None:
        """Admit nothing more, and return when all that was admitted has its answer."""
        self._is_draining = True
        self._wake()
        if self._queue or self._tasks:
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    async def _outcome(self, entry: Entry[ItemT, Outcome[ResultT]]) -> Outcome[ResultT]:
        try:
            return await entry.future
        except asyncio.CancelledError:
            self._forget(entry)
            raise

    def _priority(self, asked: int) -> int:
        return asked if 1 <= asked <= self._priority_levels else self._default_priority_level

    def _forget(self, entry: Entry[ItemT, Outcome[ResultT]]) -> None:
        """Take a cancelled entry out of the queue, if it still is in it."""
        if not entry.future.cancelled():
            entry.future.exception()  # the answer came in the same turn; nobody will read it
            return
        self._queue.discard(entry)
        self._settle()

    def _wake(self) -> None:
        """Start an instance, if one is free."""
        if self._is_starting or not self._queue or len(self._tasks) >= self._instances:
            return
        if self._waits_for_company():
            return
        self._is_starting = True
        if self._execute_now is None:
            self._start(self._serve())
        elif self._gathering is None:
            asyncio.get_running_loop().call_soon(self._serve_now)
        else:
            self._serve_now()

    def _serve_now(self) -> None:
        self._is_starting = False
        batch = self._take()
        if batch:
            self._run_now(batch)

    def _start(self, instance: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(instance)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _is_due_alone(self) -> bool:
        """Whether a request that has just come need not wait, nor stand in the queue for it."""
        if self._gathering is None or self._queue or self._tasks:
            return False
        return self._gathering.is_enough(1)

    def _waits_for_company(self) -> bool:
        """Whether more are expected than wait; sees to it that nobody waits for them for long."""
        if self._gathering is None or self._has_waited or self._is_draining:
            return False
        is_full = self._queue.rows >= self._max_batch_size
        if is_full or self._gathering.is_enough(len(self._queue)):
            return False
        if self._timer is None:
            assert self._clock is not None  # set by the first submit
            self._timer = self._clock.call_later(WINDOW_SECONDS, self._end_window)
        return True

    def _end(self, task: "asyncio.Task[None]") -> None:
        if task in self._tasks:  # cancelled before its first step
            self._tasks.remove(task)
            self._is_starting = False
        if task.cancelled():  # as when an executor was shut down under it
            self._wake()
        self._settle()

    def _settle(self) -> None:
        if self._idle is not None and not self._queue and not self._tasks:
            self._idle.set_result(None)
            self._idle = None

    async def _serve(self) -> None:
        """Be an instance: run batches, one after the other, until none is due."""
        self._is_starting = False
        try:
            while batch := self._take():
                self._wake()  # more may be due than one instance takes
                await self._run(batch)
        finally:
            self._leave()

    def _run_now(self, batch: list[Entry[ItemT, Outcome[ResultT]]]) -> None:
        """Execute a batch on the event loop, and answer its entries."""
        assert self._clock is not None
        assert self._execute_now is not None
        start = self._clock.time()
        try:
            results = self._execute_now([entry.item for entry in batch])
        except Exception as error:
            self._start(self._serve_failed(batch, error))
            return
        except BaseException:
            _stop(batch)
            raise
        self._answer(batch, results, start)
        if self._queue:  # the next one in another turn: the event loop has other work too
            asyncio.get_running_loop().call_soon(self._wake)
        self._settle()

    async def _serve_failed(
        self, batch: list[Entry[ItemT, Outcome[ResultT]]], error: Exception
    ) -> None:
        """Be an instance that has failed on a batch."""
        try:
            await self._take_apart(batch, await self._judge(error))
        except BaseException:
            _stop(batch)
            raise
        finally:
            self._leave()
            self._wake()

    def _leave(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.remove(task)  # here and not a turn later: an arrival may need the place

    def _take(self) -> list[Entry[ItemT, Outcome[ResultT]]]:
        """The next batch that is due; without one, wake up when the first window ends."""
        assert self._clock is not None  # set by the first submit
        now = self._clock.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        window_ends = []
        for key in self._queue.keys():  # noqa: SIM118 - it is no mapping
            batch, window_end = self._form(key, now)
            if batch and window_end <= now:
                self._note_company(batch)
                return batch
            if batch:
                self._queue.put_back(batch)
                window_ends.append(window_end)
        if window_ends:
            self._timer = self._clock.call_later(min(window_ends) - now, self._end_window)
        return []

    def _note_company(self, batch: list[Entry[ItemT, Outcome[ResultT]]]) -> None:
        if self._gathering is not None:
            self._gathering.note(len(batch), has_waited=self._has_waited)
            self._has_waited = False

    def _end_window(self) -> None:
        self._timer = None
        self._has_waited = True
        self._wake()

    def _form(
        self, key: Hashable, now: float
    ) -> tuple[list[Entry[ItemT, Outcome[ResultT]]], float]:
        """Take the most urgent live entries that fit a batch; say until when it may wait."""
        batch: list[Entry[ItemT, Outcome[ResultT]]] = []
        rows = preferred = 0
        is_full = False
        most_rows = self._most_rows(key)
        while not is_full and (entry := self._queue.take(key, now)) is not None:
            if self._comes_too_late(entry, now):
                continue
            if batch and rows + entry.rows > most_rows:
                self._queue.put_back([entry])
                is_full = True
                continue
            batch.append(entry)
            rows += entry.rows
            if rows in self._preferred:
                preferred = len(batch)
            is_full = rows >= most_rows
        if preferred:
            self._queue.put_back(batch[preferred:])
            return batch[:preferred], now
        if is_full or self._is_draining or not batch:
            return batch, now
        return batch, min(entry.arrival for entry in batch) + self._delay

    def _most_rows(self, key: Hashable) -> int:
        if self._growth is None or not self._max_batch_size:
            return max(1, self._max_batch_size)
        return self._growth.most_rows(key)

    def _comes_too_late(self, entry: Entry[ItemT, Outcome[ResultT]], now: float) -> bool:
        """Refuse what could not be answered in time; the last one is tried, as at arrival."""
        if self._estimate is None or entry.deadline is None or not self._queue:
            return False
        seconds = self._estimate.of_batch(entry.key, entry.rows)
        if seconds is None or now + seconds <= entry.deadline:
            return False
        entry.fail(too_late(entry.deadline - now, seconds))
        return True

    async def _run(
        self, batch: list[Entry[ItemT, Outcome[ResultT]]], *, is_retry: bool = False
    ) -> None:
        """Execute a batch and answer its entries."""
        assert self._clock is not None
        start = self._clock.time()
        try:
            results = await self._execute([entry.item for entry in batch])
        except Exception as error:
            if is_retry:
                batch[0].fail(error)
            else:
                await self._take_apart(batch, error)
        except BaseException:
            _stop(batch)
            raise
        else:
            self._answer(batch, results, start)

    async def _take_apart(
        self, batch: list[Entry[ItemT, Outcome[ResultT]]], error: Exception
    ) -> None:
        """Try each request of a failed batch once more, so that a bad one fails alone.

        A lone request gets its second try where the fault was that of what ran it.
        """
        if len(batch) == 1 and not isinstance(error, FaultError):
            batch[0].fail(error)
            return
        assert self._clock is not None
        for index, entry in enumerate(batch):
            try:
                if entry.is_live(self._clock.time()):
                    await self._run([entry], is_retry=True)
            except BaseException:
                _stop(batch[index:])
                raise

    def _answer(
        self, batch: list[Entry[ItemT, Outcome[ResultT]]], results: Sequence[ResultT], start: float
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
        now = self._clock.time()
        seconds = now - start
        compute_ns = round(seconds * 1e9)
        rows = sum(entry.rows for entry in batch)
        if self._estimate is not None:
            self._estimate.note(batch[0].key, rows, seconds)
        requests = len(batch)
        for entry, result in zip(batch, results, strict=True):
            self._note_deadline(entry, now)
            if not entry.future.done():
                queue_ns = round((start - entry.arrival) * 1e9)
                entry.future.set_result(Outcome(result, queue_ns, compute_ns, rows, requests))

    def _note_deadline(self, entry: Entry[ItemT, Outcome[ResultT]], now: float) -> None:
        """Count whether an answer was in time; who left early for another reason tells nothing."""
        if self._estimate is None or entry.deadline is None:
            return
        is_late = now >= entry.deadline
        if is_late or not entry.future.done():
            self._estimate.note_answer(is_late=is_late)


def _stop(batch: list[Entry[ItemT, Outcome[ResultT]]]) -> None:
    for entry in batch:
        entry.fail(UnavailableError("the batch was stopped before it had a result"))
