"""Priorities, timeouts and bounds of the queue, as Triton documents them; no time passes."""

import asyncio

import pytest
from tests.server.batching import make, start, turns
from tests.server.test_model import _load

from eyespot.server.errors import DeadlineExceededError, QueueFullError, RepositoryError
from eyespot.server.queueing import QueuePolicy


async def held(executor, clock, **arguments):
    """A batcher whose only instance is busy, so that what comes now waits."""
    batcher = make(executor, clock, **arguments)
    busy = start(batcher, 0)
    await turns()
    assert executor.batches == [[0]]
    return batcher, busy


async def finish_all(executor, *calls):
    while executor.running:
        executor.finish()
        await turns()
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_the_most_urgent_run_first_and_equals_in_their_order(executor, clock):
    batcher, busy = await held(
        executor, clock, max_batch_size=1, priority_levels=3, default_priority_level=2
    )
    calls = [
        start(batcher, item, priority=priority)
        for item, priority in ((1, 3), (2, 0), (3, 1), (4, 2), (5, 9), (6, 1))
    ]
    await turns()
    await finish_all(executor, busy, *calls)
    # 0 and what is beyond the levels are of the default, 2.
    assert executor.batches == [[0], [3], [6], [2], [4], [5], [1]]


async def test_less_urgent_requests_fill_a_batch(executor, clock):
    batcher, busy = await held(executor, clock, priority_levels=2, default_priority_level=2)
    calls = [start(batcher, item, priority=priority) for item, priority in ((1, 2), (2, 1), (3, 2))]
    await turns()
    await finish_all(executor, busy, *calls)
    assert executor.batches == [[0], [2, 1, 3]]


async def test_the_most_urgent_of_all_keys_goes_first(executor, clock):
    batcher, busy = await held(executor, clock, priority_levels=2, default_priority_level=2)
    calls = [
        start(batcher, item, priority=priority, key=key)
        for item, priority, key in ((1, 2, "a"), (2, 1, "b"), (3, 2, "a"))
    ]
    await turns()
    await finish_all(executor, busy, *calls)
    assert executor.batches == [[0], [2], [1, 3]]


async def test_rejected_when_its_time_is_over(executor, clock):
    policy = QueuePolicy(timeout_seconds=5.0)
    batcher, busy = await held(executor, clock, default_policy=policy)
    late = start(batcher, 1)
    await turns()
    clock.advance(2.0)
    in_time = start(batcher, 2)
    await turns()
    clock.advance(3.5)
    _, first, second = await finish_all(executor, busy, late, in_time)
    assert isinstance(first, DeadlineExceededError)
    assert str(first) == "Request timeout expired: it waited 5.500 s and could not be run"
    assert second.result == -2
    assert executor.batches == [[0], [2]]


async def test_delayed_when_its_time_is_over(executor, clock):
    policy = QueuePolicy(timeout_seconds=5.0, delays=True)
    batcher, busy = await held(executor, clock, max_batch_size=1, default_policy=policy)
    late = [start(batcher, item) for item in (1, 2)]
    await turns()
    clock.advance(6.0)
    later = [start(batcher, item) for item in (3, 4)]
    await turns()
    outcomes = await finish_all(executor, busy, *late, *later)
    # Behind all others, in their order, and not lost.
    assert executor.batches == [[0], [3], [4], [1], [2]]
    assert [outcome.result for outcome in outcomes[1:]] == [-1, -2, -3, -4]


async def test_the_delayed_of_an_urgent_priority_come_before_a_lower_one(executor, clock):
    batcher, busy = await held(
        executor,
        clock,
        max_batch_size=1,
        priority_levels=2,
        default_priority_level=2,
        policies={1: QueuePolicy(timeout_seconds=1.0, delays=True)},
    )
    calls = [start(batcher, item, priority=priority) for item, priority in ((1, 1), (2, 2))]
    await turns()
    clock.advance(2.0)
    await finish_all(executor, busy, *calls)
    assert executor.batches == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("own", "may", "asked", "waits"),
    [
        (None, True, None, None),
        (None, True, 2.0, 2.0),
        (None, False, 2.0, None),
        (5.0, True, 2.0, 2.0),
        (5.0, True, 9.0, 5.0),  # it may be shortened, not prolonged
        (5.0, False, 2.0, 5.0),
        (5.0, True, None, 5.0),
    ],
)
def test_whose_timeout_counts(own, may, asked, waits):
    policy = QueuePolicy(timeout_seconds=own, allow_timeout_override=may)
    assert policy.wait_seconds(asked) == waits


async def test_a_request_may_shorten_its_wait(executor, clock):
    batcher, busy = await held(executor, clock)
    calls = [start(batcher, 1, timeout=1.0), start(batcher, 2)]
    await turns()
    clock.advance(1.0)
    _, first, second = await finish_all(executor, busy, *calls)
    assert isinstance(first, DeadlineExceededError)
    assert second.result == -2


async def test_each_priority_has_a_bound_of_its_own(executor, clock):
    batcher, busy = await held(
        executor,
        clock,
        priority_levels=2,
        default_priority_level=2,
        policies={1: QueuePolicy(max_queue_size=1)},
        default_policy=QueuePolicy(max_queue_size=2),
    )
    calls = [start(batcher, item, priority=priority) for item, priority in ((1, 1), (2, 2), (3, 2))]
    await turns()
    for priority in (1, 2):
        with pytest.raises(QueueFullError, match="max_queue_size"):
            await batcher.submit(9, rows=1, priority=priority)
    outcomes = await finish_all(executor, busy, *calls)
    assert all(not isinstance(outcome, Exception) for outcome in outcomes)


async def test_the_timed_out_make_room(executor, clock):
    batcher, busy = await held(
        executor, clock, max_queue_size=1, default_policy=QueuePolicy(timeout_seconds=1.0)
    )
    late = start(batcher, 1)
    await turns()
    clock.advance(2.0)
    call = start(batcher, 2)
    await turns()
    _, first, second = await finish_all(executor, busy, late, call)
    assert isinstance(first, DeadlineExceededError)
    assert second.result == -2


async def test_order_is_preserved_whatever_runs_first(executor, clock):
    batcher = make(executor, clock, max_batch_size=1, instances=3, preserve_ordering=True)
    ended = []

    async def call(item):
        try:
            await batcher.submit(item, rows=1)
        finally:
            ended.append(item)

    calls = [asyncio.ensure_future(call(item)) for item in (1, 2, 3)]
    await turns()
    assert executor.batches == [[1], [2], [3]]
    executor.finish(2)
    executor.finish(1, error=RuntimeError("on purpose"))
    await turns()
    assert ended == []
    executor.finish(0)
    await asyncio.gather(*calls, return_exceptions=True)
    assert ended == [1, 2, 3]


async def test_who_goes_does_not_let_the_others_pass(executor, clock):
    batcher = make(executor, clock, max_batch_size=1, instances=3, preserve_ordering=True)
    calls = [start(batcher, item) for item in (1, 2, 3)]
    await turns()
    calls[1].cancel()
    executor.finish(2)
    await turns()
    assert not calls[2].done()
    executor.finish(0)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes[0].result == -1
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert outcomes[2].result == -3


CONFIG = """
max_batch_size: 8
dynamic_batching {
  preserve_ordering: true
  priority_levels: 3
  default_priority_level: 2
  default_queue_policy { default_timeout_microseconds: 1500000 max_queue_size: 7 }
  priority_queue_policy {
    key: 1
    value {
      timeout_action: DELAY default_timeout_microseconds: 250000 allow_timeout_override: true
    }
  }
}
"""


def test_the_configuration_is_read(repository):
    repository.add("net", config=CONFIG)
    loaded, _ = _load(repository)
    batching = loaded.config.dynamic_batching
    assert (batching.priority_levels, batching.default_priority_level) == (3, 2)
    assert batching.preserve_ordering
    assert batching.default_policy == QueuePolicy(
        timeout_seconds=1.5, allow_timeout_override=False, delays=False, max_queue_size=7
    )
    assert batching.policies == {
        1: QueuePolicy(timeout_seconds=0.25, allow_timeout_override=True, delays=True)
    }
    assert loaded.config.unhonoured == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("default_priority_level: 2", ""), "default_priority_level 0 must be from 1 to"),
        (("key: 1", "key: 4"), "priority_queue_policy is of priority 4, priority_levels are 3"),
    ],
)
def test_a_configuration_that_cannot_be(repository, change, told):
    repository.add("net", config=CONFIG.replace(*change))
    with pytest.raises(RepositoryError, match=told):
        _load(repository)
