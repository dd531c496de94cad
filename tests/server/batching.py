"""Time that passes when told, and an executor that finishes batches when told."""

import asyncio
import heapq
import itertools

from eyespot.server.batcher import Batcher


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


def make(executor, clock, **arguments):
    arguments = {"max_batch_size": 4, "max_queue_size": 100} | arguments
    return Batcher(executor, clock=clock, **arguments)
