"""Who is not in a batch: the cancelled, the expired, and those that a full queue refuses."""

import asyncio

import pytest
from tests.server.batching import make, start, turns

from eyespot.server.errors import (
    DeadlineExceededError,
    QueueFullError,
)


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
