"""What a modest caller waits for beside a greedy one, simulated on two cores; no time passes.

Rows of a large network run one after another, and more batches than cores share the cores. The
modest caller sends a row, waits for its answer, and pauses; 64 calls of the greedy one are under
way. The latencies are held against one row, which is what a call takes alone.
"""

import asyncio

import numpy as np
from tests.server.batching import FakeClock, turns

from eyespot.server.batch_growth import BatchGrowth
from eyespot.server.batcher import Batcher

_CORES, _GREEDY, _CALLS, _LEARNING = 2, 64, 60, 8
_PAUSE = 2.5  # in rows


class SharedCores:
    """Runs batches side by side: none faster than on a core of its own."""

    def __init__(self, clock, growth):
        self.clock = clock
        self._growth = growth
        self._running = []
        self._random = np.random.default_rng(0)

    async def __call__(self, items):
        work = len(items) * self._random.uniform(0.9, 1.1)
        batch = [work, asyncio.get_running_loop().create_future()]
        self._running.append(batch)
        await batch[1]
        if self._growth is not None:
            self._growth.note(None, len(items), work)
        return items

    def advance(self, until):
        """Lets time pass until a batch ends, or until a moment."""
        pace = min(1.0, _CORES / max(1, len(self._running)))
        seconds = min([until - self.clock.now, *(work / pace for work, _ in self._running)])
        self.clock.advance(seconds)
        for batch in self._running:
            batch[0] -= seconds * pace
        for batch in [batch for batch in self._running if batch[0] < 1e-9]:
            self._running.remove(batch)
            batch[1].set_result(None)


async def latencies(growth):
    """Of the modest one's calls, once the server has learned, from the shortest."""
    clock = FakeClock()
    cores = SharedCores(clock, growth)
    batcher = Batcher(
        cores,
        max_batch_size=8,
        max_queue_size=1000,
        instances=_CORES + 1,
        growth=growth,
        clock=clock,
    )

    async def greedy():
        while True:
            await batcher.submit(None, rows=1, caller="greedy")

    callers = [asyncio.create_task(greedy()) for _ in range(_GREEDY)]
    taken = []
    for _ in range(_CALLS):
        pause_end = clock.now + _PAUSE
        while clock.now < pause_end:
            await turns(5)
            cores.advance(pause_end)
        began = clock.now
        call = asyncio.create_task(batcher.submit(None, rows=1, caller="modest"))
        await turns(5)
        while not call.done():
            cores.advance(float("inf"))
            await turns(5)
        taken.append(clock.now - began)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    while cores._running:
        cores.advance(float("inf"))
        await turns(5)
    return sorted(taken[_LEARNING:])


async def test_no_call_takes_three_times_what_it_takes_alone():
    assert (await latencies(BatchGrowth(8)))[-1] < 3


async def test_with_batches_that_win_nothing_it_takes_ten_times():
    """What the test above would see."""
    assert np.median(await latencies(None)) > 10
