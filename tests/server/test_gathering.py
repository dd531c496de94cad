"""Small models: answered at once where nobody else comes, and gathered where somebody does."""

import asyncio

import pytest
from tests.server.batching import turns

from eyespot.server.batcher import Batcher
from eyespot.server.errors import FaultError, UnavailableError
from eyespot.server.gathering import WINDOW_SECONDS, Gathering


class Small:
    """A model that runs on the event loop: results are the items, negated."""

    def __init__(self, clock, **arguments):
        self.batches = []
        self.errors = []  # raised by the next runs
        self.clock = clock
        self.batcher = Batcher(
            self.execute, execute_now=self.execute_now, judge=self.judge,
            gathering=Gathering(), clock=clock,
            **{"max_batch_size": 8, "max_queue_size": 99} | arguments,
        )  # fmt: skip

    async def execute(self, items):
        return self.execute_now(items)

    def execute_now(self, items):
        self.batches.append(list(items))
        if self.errors:
            raise self.errors.pop(0)
        return [-item for item in items]

    async def judge(self, error):
        await asyncio.sleep(0)  # as where a probe runs in a thread
        return FaultError("put right") if isinstance(error, OSError) else error

    def send(self, item, **arguments):
        return asyncio.create_task(self.batcher.submit(item, rows=1, **arguments))

    async def alone(self, count):
        for _ in range(count):
            await self.batcher.submit(0, rows=1)

    @property
    def sizes(self):
        return [len(batch) for batch in self.batches]


@pytest.fixture
def small(clock):
    return Small(clock)


async def meet(small, *items):
    """The 17th batch looks for company, and finds some."""
    await small.alone(16)
    small.batches.clear()
    found = [small.send(item) for item in items]
    await turns()
    assert small.batches == []
    small.clock.advance(WINDOW_SECONDS)
    await asyncio.gather(*found)
    assert small.batches == [list(items)]
    small.batches.clear()


async def test_who_is_alone_is_answered_without_a_turn_of_the_event_loop(small):
    submitted = small.batcher.submit(5, rows=1)
    with pytest.raises(StopIteration) as done:
        submitted.send(None)
    assert done.value.value.result == -5
    assert small.clock.armed == 0


async def test_a_batch_waits_for_as_many_as_came_before_and_no_longer(small):
    await meet(small, 1, 2, 3)
    later = [small.send(item) for item in (4, 5)]
    await turns()
    assert small.batches == []
    later.append(small.send(6))
    await turns()
    assert small.batches == [[4, 5, 6]]
    assert small.clock.armed == 0
    await asyncio.gather(*later)


async def test_company_that_does_not_come_is_waited_for_once(small):
    await meet(small, 1, 2)
    waiting = small.send(3)
    await turns()
    small.clock.advance(WINDOW_SECONDS / 2)
    await turns()
    assert small.batches == []
    small.clock.advance(WINDOW_SECONDS / 2)
    await waiting
    assert small.batches == [[3]]
    await small.batcher.submit(4, rows=1)
    assert small.batches == [[3], [4]]


async def test_more_company_is_looked_for_now_and_then(small):
    await meet(small, 1, 2)
    for _ in range(16):
        await asyncio.gather(small.send(3), small.send(4))
    assert small.sizes == [2] * 16
    more = [small.send(item) for item in (5, 6, 7)]
    await turns()
    assert small.sizes == [2] * 16
    small.clock.advance(WINDOW_SECONDS)
    await asyncio.gather(*more)
    assert small.sizes == [2] * 16 + [3]


async def test_who_stays_alone_waits_ever_more_seldom(small):
    waited = []
    for call in range(3000):
        task = small.send(call)
        await asyncio.sleep(0)
        if not task.done():
            await asyncio.sleep(0)
        if not small.batches or small.batches[-1] != [call]:
            waited.append(call)
            small.clock.advance(WINDOW_SECONDS)
        await task
    assert waited == [16, 49, 114, 243, 500, 1013, 2038]  # 32, 64 ... 1024 between


async def test_a_full_batch_waits_no_longer(clock):
    small = Small(clock, max_batch_size=2)
    await small.alone(16)
    small.batches.clear()
    await asyncio.gather(small.send(1), small.send(2))
    assert small.batches == [[1, 2]]


async def test_draining_waits_for_nobody(small):
    await meet(small, 1, 2)
    waiting = small.send(3)
    await turns()
    await small.batcher.drain()
    assert (await waiting).result == -3


async def test_a_delay_that_is_set_outweighs_gathering(clock):
    small = Small(clock, max_batch_size=2, max_queue_delay_microseconds=9000)
    task = small.send(1)
    await turns()
    clock.advance(2 * WINDOW_SECONDS)
    await turns()
    assert small.batches == []
    await asyncio.gather(task, small.send(2))
    assert small.batches == [[1, 2]]


async def test_a_bad_request_fails_alone(small):
    await meet(small, 1, 2, 3)
    small.errors = [ValueError("of the batch"), ValueError("bad")]
    found = await asyncio.gather(*map(small.send, (4, 5, 6)), return_exceptions=True)
    assert isinstance(found[0], ValueError)
    assert [each.result for each in found[1:]] == [-5, -6]
    assert small.batches == [[4, 5, 6], [4], [5], [6]]


async def test_a_lone_request_has_another_try_where_the_fault_was_put_right(small):
    small.errors = [OSError("broken")]
    assert (await small.batcher.submit(1, rows=1)).result == -1
    small.errors = [ValueError("bad")]
    with pytest.raises(ValueError, match="bad"):
        await small.batcher.submit(2, rows=1)
    assert small.batches == [[1], [1], [2]]


async def test_who_comes_while_a_fault_is_put_right_is_answered_after_it(small):
    small.errors = [OSError("broken")]
    first = small.send(1)
    await asyncio.sleep(0)
    second = small.send(2)
    await asyncio.sleep(0)
    assert small.batches == [[1]]
    assert [each.result for each in await asyncio.gather(first, second)] == [-1, -2]
    assert small.batches == [[1], [1], [2]]


async def test_who_stops_the_event_loop_leaves_no_request_without_an_answer(small):
    await meet(small, 1, 2)
    small.errors = [KeyboardInterrupt()]
    first = small.batcher.submit(3, rows=1)
    waiting = asyncio.ensure_future(first)
    await turns()
    with pytest.raises(KeyboardInterrupt):
        small.batcher.submit(4, rows=1).send(None)
    with pytest.raises(UnavailableError):
        await waiting


async def test_what_is_left_after_a_batch_comes_in_the_next(small):
    await meet(small, 1, 2, 3)
    found = [small.send(item, key=item % 2) for item in (4, 5, 6)]
    await turns()
    assert small.batches == [[4, 6]]
    small.clock.advance(WINDOW_SECONDS)
    await asyncio.gather(*found)
    assert small.batches == [[4, 6], [5]]


async def test_the_next_batch_lets_the_event_loop_turn(clock):
    small = Small(clock, max_batch_size=2)
    await small.alone(16)
    small.batches.clear()
    calls = [small.send(item, key=item) for item in (1, 2)]
    asyncio.get_running_loop().call_soon(small.batches.append, "other work")
    await asyncio.gather(*calls)
    assert small.batches == [[1], "other work", [2]]


async def test_where_sizes_are_preferred_who_comes_in_the_same_turn_joins(clock):
    small = Small(clock, preferred_batch_size=(3,))
    await asyncio.gather(*map(small.send, (1, 2, 3)))
    assert small.batches == [[1, 2, 3]]


async def test_company_that_was_missed_once_is_looked_for_again_soon(small):
    await meet(small, 1, 2)
    missed = small.send(3)
    await turns()
    small.clock.advance(WINDOW_SECONDS)
    await missed
    await small.alone(2)
    small.batches.clear()
    again = [small.send(4), small.send(5)]
    await turns()
    assert small.batches == []
    small.clock.advance(WINDOW_SECONDS)
    await asyncio.gather(*again)
    assert small.batches == [[4, 5]]
