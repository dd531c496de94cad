"""The batcher: who shares a batch, when it is dispatched, and how it ends."""

import asyncio

import pytest
from tests.server.batching import make, start, turns

from eyespot.server.batcher import Batcher
from eyespot.server.errors import (
    DrainingError,
)


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


async def test_results_must_number_inputs(clock):
    async def execute(items):
        return [0]

    batcher = make(execute, clock)
    answers = await asyncio.gather(
        *(start(batcher, item) for item in (1, 2)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [RuntimeError, RuntimeError]
    assert "1 results for a batch of 2 requests" in str(answers[0])


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
