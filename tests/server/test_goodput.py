"""Calls that come faster than they can be answered: rows that are answered in time, simulated.

No time passes: arrivals and batches are events on a clock of the test's own.
"""

import asyncio
from collections import Counter

import numpy as np
import pytest
from tests.server.batching import FakeClock, turns

from eyespot.server.batcher import Batcher
from eyespot.server.errors import DeadlineExceededError, WaitTooLongError
from eyespot.server.wait_estimate import WaitEstimate

# A row takes 0.1 s, give or take half of it: ten are answered in a second.
_ROW_SECONDS, _SECONDS, _DEADLINE = 0.1, 20.0, 1.5
_MOST = round(_SECONDS / _ROW_SECONDS)


async def simulate(pace, estimate):
    """Calls at a multiple of what can be answered; how many ended how, and rows that ran."""
    clock, random = FakeClock(), np.random.default_rng(0)
    counted = Counter()

    async def execute(items):
        done = asyncio.get_running_loop().create_future()
        duration = _ROW_SECONDS * len(items) * random.uniform(0.5, 1.5)
        clock.call_later(duration, lambda: done.set_result(items))
        counted["rows run"] += len(items)
        return await done

    batcher = Batcher(
        execute, max_batch_size=1, max_queue_size=1000, clock=clock, estimate=estimate
    )

    async def call():
        deadline = clock.now + _DEADLINE
        try:
            await batcher.submit(None, rows=1, deadline=deadline)
        except (WaitTooLongError, DeadlineExceededError) as error:
            counted[type(error)] += 1
        else:
            counted["in time" if clock.now <= deadline else "late"] += 1

    async def advance_to(moment):
        while (timer := clock.next_timer) is not None and timer <= moment:
            clock.advance(timer - clock.now)
            await turns(4)
        clock.advance(moment - clock.now)

    begun, calls = clock.now, []
    for arrival in np.sort(random.uniform(0, _SECONDS, round(pace * _MOST))):
        await advance_to(begun + arrival)
        calls.append(asyncio.create_task(call()))
        await turns(4)
    await advance_to(begun + _SECONDS + 2 * _DEADLINE)
    await asyncio.gather(*calls)
    return counted


@pytest.mark.parametrize("pace", [2, 5])
async def test_under_overload_nine_of_ten_rows_are_answered_in_time(pace):
    counted = await simulate(pace, WaitEstimate(1))
    assert counted["in time"] >= 0.9 * _MOST
    assert counted["late"] <= 0.05 * counted["rows run"]


async def test_below_what_can_be_answered_hardly_any_is_refused():
    counted = await simulate(0.7, WaitEstimate(1))
    assert counted["in time"] >= 0.98 * 0.7 * _MOST


async def test_without_the_estimate_rows_are_run_in_vain():
    """What the two tests above would see: requests run until the moment when nobody wants them."""
    counted = await simulate(5, None)
    assert counted["in time"] < 0.7 * _MOST
