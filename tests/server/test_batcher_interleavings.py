"""Whatever happens in whatever order: each caller has its own answer, and rows keep their order."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.batching import Executor, FakeClock, make, start, turns

from eyespot.server.errors import (
    DeadlineExceededError,
    QueueFullError,
)

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
