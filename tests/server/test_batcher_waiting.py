"""How long a batch waits for company: windows, preferred sizes, and gathering for a moment."""

import pytest
from tests.server.batching import make, start, turns


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
