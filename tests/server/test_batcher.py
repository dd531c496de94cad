import asyncio
import heapq
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyespot.server.batcher import Batcher
from eyespot.server.errors import (
    DeadlineExceededError,
    DrainingError,
    QueueFullError,
    UnavailableError,
)


class FakeClock:
    """Time that passes only when told; `call_later` fires during `advance`."""

    def __init__(self):
        self.now = 100.0
        self._timers = []
        self._order = itertools.count()

    def time(self):
        return self.now

    def call_later(self, delay, callback):
        timer = FakeTimer(self.now + delay, callback)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        return timer

    def advance(self, seconds):
        self.now += seconds
        while self._timers and self._timers[0][0] <= self.now + 1e-9:
            timer = heapq.heappop(self._timers)[2]
            if timer.callback is not None:
                timer.callback()

    @property
    def next_timer(self):
        return min((when for when, _, t in self._timers if t.callback is not None), default=None)

    @property
    def armed(self):
        return sum(1 for _, _, timer in self._timers if timer.callback is not None)


class FakeTimer:
    def __init__(self, when, callback):
        self.when = when
        self.callback = callback

    def cancel(self):
        self.callback = None


class Executor:
    """Records batches and finishes them when told; results are the items, negated."""

    def __init__(self):
        self.batches = []
        self.running = []

    async def __call__(self, items):
        self.batches.append(list(items))
        done = asyncio.get_running_loop().create_future()
        self.running.append((list(items), done))
        return await done

    def finish(self, index=0, error=None):
        items, done = self.running.pop(index)
        if error is None:
            done.set_result([-item for item in items])
        else:
            done.set_exception(error)


async def turns(count=6):
    """Let the event loop go round; no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)


def start(batcher, item, rows=1, **arguments):
    return asyncio.create_task(batcher.submit(item, rows=rows, **arguments))


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def executor():
    return Executor()


def make(executor, clock, **arguments):
    arguments = {"max_batch_size": 4, "max_queue_size": 100} | arguments
    return Batcher(executor, clock=clock, **arguments)


async def test_arrivals_of_one_turn_share_a_batch(executor, clock):
    batcher = make(executor, clock)
    calls = [start(batcher, item) for item in (1, 2, 3)]
    await turns()
    assert executor.batches == [[1, 2, 3]]
    executor.finish()
    outcomes = await asyncio.gather(*calls)
    assert [outcome.result for outcome in outcomes] == [-1, -2, -3]
    assert {outcome.batch_rows for outcome in outcomes} == {3}
    assert {outcome.batch_requests for outcome in outcomes} == {3}


async def test_a_free_instance_takes_what_has_piled_up_at_once(executor, clock):
    batcher = make(executor, clock)
    calls = [start(batcher, 1)]
    await turns()
    calls += [start(batcher, item) for item in (2, 3, 4, 5, 6)]
    await turns()
    assert executor.batches == [[1]]
    assert batcher.queue_size == 5
    executor.finish()
    await turns()
    assert executor.batches == [[1], [2, 3, 4, 5]]
    executor.finish()
    await turns()
    executor.finish()
    assert [call.result for call in await asyncio.gather(*calls)] == [-1, -2, -3, -4, -5, -6]


async def test_rows_are_counted_not_requests_and_order_is_kept(executor, clock):
    batcher = make(executor, clock)
    for item, rows in ((1, 2), (2, 1), (3, 3), (4, 1)):
        start(batcher, item, rows=rows)
    await turns()
    executor.finish()
    await turns()
    # 3 does not fit beside 1 and 2; 4 would, but must not overtake it
    assert executor.batches == [[1, 2], [3, 4]]
    executor.finish()


async def test_max_batch_size_zero_never_joins(executor, clock):
    batcher = make(executor, clock, max_batch_size=0)
    start(batcher, 1, rows=7)
    start(batcher, 2, rows=1)
    await turns()
    executor.finish()
    await turns()
    assert executor.batches == [[1], [2]]
    executor.finish()


async def test_only_equal_keys_join(executor, clock):
    batcher = make(executor, clock)
    for item, key in ((1, "a"), (2, "b"), (3, "a"), (4, "b")):
        start(batcher, item, key=key)
    await turns()
    executor.finish()
    await turns()
    assert executor.batches == [[1, 3], [2, 4]]
    executor.finish()


async def test_the_window_opens_at_the_first_arrival(executor, clock):
    batcher = make(executor, clock, max_queue_delay_microseconds=1000)
    first = start(batcher, 1)
    await turns()
    clock.advance(0.0006)
    second = start(batcher, 2)
    await turns()
    assert executor.batches == []
    clock.advance(0.0004)
    await turns()
    assert executor.batches == [[1, 2]]
    executor.finish()
    assert (await first).queue_ns == pytest.approx(1_000_000, abs=2)
    assert (await second).queue_ns == pytest.approx(400_000, abs=2)


async def test_a_full_batch_does_not_wait_for_the_window(executor, clock):
    batcher = make(executor, clock, max_queue_delay_microseconds=1_000_000)
    for item in (1, 2, 3):
        start(batcher, item)
    await turns()
    assert executor.batches == []
    start(batcher, 4)
    await turns()
    assert executor.batches == [[1, 2, 3, 4]]
    assert clock.armed == 0
    executor.finish()


async def test_a_batch_that_cannot_grow_does_not_wait(executor, clock):
    batcher = make(executor, clock, max_queue_delay_microseconds=1_000_000)
    start(batcher, 1, rows=3)
    start(batcher, 2, rows=2)
    await turns()
    assert executor.batches == [[1]]
    executor.finish()


async def test_time_in_the_queue_counts_for_the_window(executor, clock):
    batcher = make(executor, clock, max_queue_delay_microseconds=1000)
    for item in (1, 2, 3, 4):
        start(batcher, item)
    await turns()
    start(batcher, 5)
    await turns()
    clock.advance(0.002)
    executor.finish()
    await turns()
    assert executor.batches == [[1, 2, 3, 4], [5]]
    executor.finish()


async def test_the_largest_preferred_size_is_taken(executor, clock):
    batcher = make(executor, clock, max_batch_size=8, preferred_batch_size=[2, 4])
    for item in range(1, 8):
        start(batcher, item)
    await turns()
    executor.finish()
    await turns()
    executor.finish()
    await turns()
    assert executor.batches == [[1, 2, 3, 4], [5, 6], [7]]
    executor.finish()


async def test_the_delay_is_spent_on_waiting_for_a_preferred_size(executor, clock):
    batcher = make(
        executor,
        clock,
        max_batch_size=8,
        preferred_batch_size=[4],
        max_queue_delay_microseconds=1000,
    )
    for item in (1, 2, 3):
        start(batcher, item)
    await turns()
    assert executor.batches == []
    start(batcher, 4)
    await turns()
    assert executor.batches == [[1, 2, 3, 4]]
    start(batcher, 5)
    await turns()
    executor.finish()
    clock.advance(0.001)
    await turns()
    assert executor.batches == [[1, 2, 3, 4], [5]]
    executor.finish()


async def test_several_instances_run_side_by_side(executor, clock):
    batcher = make(executor, clock, instances=2)
    for item in range(1, 10):
        start(batcher, item)
    await turns()
    assert executor.batches == [[1, 2, 3, 4], [5, 6, 7, 8]]
    executor.finish(1)
    await turns()
    assert executor.batches[2:] == [[9]]
    executor.finish()
    executor.finish()


async def test_an_arrival_just_as_the_instance_goes_idle_is_served(executor, clock):
    batcher = make(executor, clock)

    async def ask_twice():
        await batcher.submit(1, rows=1)
        return await batcher.submit(2, rows=1)  # in the very turn after the instance ended

    asking = asyncio.create_task(ask_twice())
    await turns()
    executor.finish()
    await turns()
    assert executor.batches == [[1], [2]]
    executor.finish()
    assert (await asking).result == -2


async def test_a_cancelled_request_leaves_the_queue_before_batching(executor, clock):
    batcher = make(executor, clock, max_queue_size=2)
    running = start(batcher, 1)
    await turns()
    waiting = [start(batcher, 2), start(batcher, 3)]
    await turns()
    waiting[0].cancel()
    await turns()
    assert batcher.queue_size == 1
    executor.finish()
    await turns()
    assert executor.batches == [[1], [3]]
    executor.finish()
    assert (await running).result == -1
    assert (await waiting[1]).result == -3


async def test_a_request_cancelled_while_it_runs_leaves_its_neighbours_alone(executor, clock):
    batcher = make(executor, clock)
    calls = [start(batcher, item) for item in (1, 2)]
    await turns()
    calls[0].cancel()
    await turns()
    executor.finish()
    assert (await calls[1]).result == -2
    with pytest.raises(asyncio.CancelledError):
        await calls[0]


async def test_a_deadline_already_past_is_refused(executor, clock):
    batcher = make(executor, clock)
    with pytest.raises(DeadlineExceededError, match=r"0\.500 s before"):
        await batcher.submit(1, rows=1, deadline=clock.time() - 0.5)
    assert (executor.batches, batcher.queue_size) == ([], 0)


async def test_a_deadline_that_passes_in_the_queue_drops_the_request(executor, clock):
    batcher = make(executor, clock)
    start(batcher, 1)
    await turns()
    late = start(batcher, 2, deadline=clock.time() + 1)
    patient = start(batcher, 3, deadline=clock.time() + 3)
    await turns()
    clock.advance(2)
    executor.finish()
    await turns()
    assert executor.batches == [[1], [3]]
    executor.finish()
    with pytest.raises(DeadlineExceededError):
        await late
    assert (await patient).result == -3


async def test_a_full_queue_refuses_and_the_next_request_works(executor, clock):
    batcher = make(executor, clock, max_queue_size=2)
    calls = [start(batcher, 1)]
    await turns()
    calls += [start(batcher, 2), start(batcher, 3)]
    await turns()
    with pytest.raises(QueueFullError, match="max_queue_size"):
        await batcher.submit(4, rows=1)
    executor.finish()
    await turns()
    calls.append(start(batcher, 5))
    await turns()
    executor.finish()
    await turns()
    executor.finish()
    assert [call.result for call in await asyncio.gather(*calls)] == [-1, -2, -3, -5]


async def test_the_expired_make_room_in_a_full_queue(executor, clock):
    batcher = make(executor, clock, max_queue_size=1)
    start(batcher, 1)
    await turns()
    late = start(batcher, 2, deadline=clock.time() + 1)
    await turns()
    clock.advance(2)
    fresh = start(batcher, 3)
    await turns()
    with pytest.raises(DeadlineExceededError):
        await late
    executor.finish()
    await turns()
    executor.finish()
    assert (await fresh).result == -3


async def test_a_request_larger_than_a_batch_is_loud(executor, clock):
    with pytest.raises(ValueError, match=r"5 rows.*max_batch_size 4.*bug"):
        await make(executor, clock).submit(1, rows=5)


async def test_a_bad_request_fails_alone(clock):
    batches = []

    async def execute(items):
        batches.append(list(items))
        if 2 in items:
            raise ArithmeticError(f"no {items}")
        return [-item for item in items]

    batcher = make(execute, clock)
    answers = await asyncio.gather(
        *(start(batcher, item) for item in (1, 2, 3)), return_exceptions=True
    )
    assert batches == [[1, 2, 3], [1], [2], [3]]
    assert (answers[0].result, answers[2].result) == (-1, -3)
    assert answers[0].batch_rows == 1
    assert str(answers[1]) == "no [2]"


async def test_a_lone_request_that_fails_is_not_repeated(executor, clock):
    call = start(make(executor, clock), 1)
    await turns()
    executor.finish(error=ArithmeticError("no"))
    with pytest.raises(ArithmeticError):
        await call
    assert executor.batches == [[1]]


async def test_a_request_cancelled_before_the_retry_is_not_repeated(executor, clock):
    batcher = make(executor, clock)
    calls = [start(batcher, item) for item in (1, 2)]
    await turns()
    calls[0].cancel()
    executor.finish(error=ArithmeticError("no"))
    await turns()
    assert executor.batches == [[1, 2], [2]]
    executor.finish()
    assert (await calls[1]).result == -2


async def test_results_must_number_inputs(clock):
    async def execute(items):
        return [0]

    batcher = make(execute, clock)
    answers = await asyncio.gather(
        *(start(batcher, item) for item in (1, 2)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [RuntimeError, RuntimeError]
    assert "1 results for a batch of 2 requests" in str(answers[0])


async def test_a_stopped_execution_answers_its_batch_and_the_next_one_runs(executor, clock):
    batcher = make(executor, clock)
    calls = [start(batcher, item) for item in (1, 2)]
    await turns()
    waiting = start(batcher, 3)
    await turns()
    executor.running.pop()[1].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [UnavailableError, UnavailableError]
    await turns()
    executor.finish()
    assert (await waiting).result == -3


async def test_drain_finishes_what_is_queued_and_admits_nothing(executor, clock):
    batcher = make(executor, clock, max_queue_delay_microseconds=1_000_000)
    calls = [start(batcher, item) for item in (1, 2)]
    await turns()
    drained = asyncio.create_task(batcher.drain())
    await turns()
    assert executor.batches == [[1, 2]]  # the window is not waited for
    with pytest.raises(DrainingError):
        await batcher.submit(3, rows=1)
    assert not drained.done()
    executor.finish()
    await turns()
    assert drained.done()
    assert [call.result for call in await asyncio.gather(*calls)] == [-1, -2]
    await batcher.drain()


async def test_an_idle_batcher_drains_at_once(executor, clock):
    await make(executor, clock).drain()


async def test_execution_may_be_a_plain_future(clock):
    loop = asyncio.get_running_loop()
    batcher = make(lambda items: loop.run_in_executor(None, list, items), clock)
    assert (await batcher.submit(7, rows=1)).result == 7


async def test_the_running_loop_is_the_clock_unless_given(executor):
    batcher = Batcher(executor, max_batch_size=4, max_queue_size=4)
    loop = asyncio.get_running_loop()
    call = start(batcher, 1, deadline=loop.time() + 60)
    await turns()
    executor.finish()
    assert (await call).compute_ns >= 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_batch_size": -1},
        {"max_queue_size": 0},
        {"instances": 0},
        {"max_queue_delay_microseconds": -1},
    ],
)
def test_impossible_settings_are_refused(executor, clock, arguments):
    with pytest.raises(ValueError, match="or more"):
        make(executor, clock, **arguments)


events = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"),
            st.integers(1, 4),
            st.sampled_from("ab"),
            st.sampled_from([None, 0.0005, 0.002]),
        ),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("advance"), st.sampled_from([0.0004, 0.001])),
        st.tuples(st.just("finish"), st.integers(0, 3)),
        st.tuples(st.just("fail"), st.integers(0, 3)),
        st.tuples(st.just("turn")),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(
    events=events,
    delay=st.sampled_from([0, 1000]),
    preferred=st.sampled_from([(), (2,), (2, 3)]),
    instances=st.integers(1, 2),
    max_batch_size=st.sampled_from([0, 4]),
)
def test_any_interleaving(events, delay, preferred, instances, max_batch_size):
    asyncio.run(interleave(events, delay, preferred, instances, max_batch_size))


async def interleave(events, delay, preferred, instances, max_batch_size):
    scene = Scene(
        max_batch_size=max_batch_size,
        max_queue_delay_microseconds=delay,
        preferred_batch_size=preferred,
        max_queue_size=3,
        instances=instances,
    )
    for name, *arguments in events:
        await getattr(scene, name)(*arguments)
        assert scene.batcher.queue_size <= 3
        assert len(scene.executor.running) <= instances
    await turns()
    drained = asyncio.create_task(scene.batcher.drain())
    while not drained.done():
        await scene.finish(0)
        await turns()
    assert scene.batcher.queue_size == 0
    check_batches(scene, max_batch_size)
    check_answers(scene.calls)


class Scene:
    """The batcher and all that can happen to it, by name."""

    def __init__(self, **settings):
        self.clock = FakeClock()
        self.executor = Executor()
        self.batcher = make(self.executor, self.clock, **settings)
        self.calls = {}
        self.rows_of = {}
        self.key_of = {}
        self.retried = set()

    async def submit(self, rows, key, patience):
        item = len(self.calls) + 1
        self.rows_of[item], self.key_of[item] = rows, key
        deadline = None if patience is None else self.clock.time() + patience
        self.calls[item] = start(self.batcher, item, rows=rows, key=key, deadline=deadline)

    async def cancel(self, item):
        if item in self.calls:
            self.calls[item].cancel()

    async def advance(self, seconds):
        self.clock.advance(seconds)

    async def finish(self, index):
        if self.executor.running:
            self.executor.finish(index % len(self.executor.running))

    async def fail(self, index):
        if self.executor.running:
            index %= len(self.executor.running)
            items = self.executor.running[index][0]
            if len(items) > 1:
                self.retried.update(items)
            self.executor.finish(index, ArithmeticError(str(items)))

    async def turn(self):
        await turns()


def check_answers(calls):
    for item, call in calls.items():
        assert call.done()
        if call.cancelled():
            continue
        error = call.exception()
        if error is None:
            assert call.result().result == -item
        elif isinstance(error, ArithmeticError):
            assert str(error) == str([item])  # it failed alone
        else:
            assert isinstance(error, (QueueFullError, DeadlineExceededError))


def check_batches(scene, max_batch_size):
    first_runs = {"a": [], "b": []}
    seen = set()
    for batch in scene.executor.batches:
        assert len(batch) == 1 or max_batch_size
        assert not max_batch_size or sum(map(scene.rows_of.get, batch)) <= max_batch_size
        assert len({scene.key_of[item] for item in batch}) == 1
        again = seen.intersection(batch)
        assert not again or (len(batch) == 1 and again <= scene.retried)  # once, and alone
        if not again:
            first_runs[scene.key_of[batch[0]]] += batch
        seen.update(batch)
    for order in first_runs.values():
        assert order == sorted(order)
