"""Calls for attributions that wait: they share batches, and leave as those for inference do."""

import asyncio

import numpy as np
import pytest
from tests.server.explaining import WEIGHT, begin, call

from eyespot.server.errors import (
    DeadlineExceededError,
    DrainingError,
    QueueFullError,
)
from eyespot.server.explainer import (
    Targets,
)


async def test_callers_share_a_batch_and_each_gets_its_own(backend, explainer):
    calls = [
        call(first=1.0, targets=Targets(np.array([0])), channel_reduction="max"),
        call(first=2.0, rows=2, targets=Targets(np.array([1, 0]))),
    ]
    tasks = await begin(backend, explainer, *calls)
    backend.gate.set()
    _, first, second = await asyncio.gather(*tasks)
    assert backend.batches == [[0.0], [1.0, 2.0, 2.0]]
    np.testing.assert_array_equal(first.attributions, [[[4, 2, 3]]])
    np.testing.assert_array_equal(second.attributions, WEIGHT[[1, 0]])
    np.testing.assert_array_equal(second.scores, [1, 0])


async def test_other_scores_do_not_join(backend, explainer):
    tasks = await begin(backend, explainer, call(), call(score="probability"))
    backend.gate.set()
    await asyncio.gather(*tasks)
    assert len(backend.batches) == 3


async def test_a_call_larger_than_a_batch_goes_in_parts(backend, explainer):
    targets = np.array([0, 1, 0, 0, 1, 1, 0, 1, 0])
    explained = await explainer.explain(call(rows=9, targets=Targets(targets)))
    assert [len(batch) for batch in backend.batches] == [4, 4, 1]
    np.testing.assert_array_equal(explained.attributions, WEIGHT[targets])
    np.testing.assert_array_equal(explained.targets, targets)
    assert len(explained.reports) == len(explained.scores) == 9


async def test_the_queue_is_bounded(backend, explainer):
    tasks = await begin(backend, explainer, call(), call(), call())
    with pytest.raises(QueueFullError):
        await tasks[3]
    assert explainer.queue_size == 2
    backend.gate.set()
    await asyncio.gather(*tasks[:3])
    await explainer.explain(call())


async def test_the_cancelled_and_expired_are_not_computed(backend, explainer):
    now = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceededError):
        await explainer.explain(call(deadline=now - 1))
    tasks = await begin(backend, explainer, call(first=5.0), call(first=6.0))
    tasks[1].cancel()
    await asyncio.sleep(0)
    backend.gate.set()
    await asyncio.gather(tasks[0], tasks[2])
    assert backend.batches == [[0.0], [6.0]]


async def test_a_call_that_fails_fails_alone(backend, explainer):
    backend.fails_on = 7.0
    tasks = await begin(backend, explainer, call(first=7.0), call(first=8.0))
    backend.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[1], ArithmeticError)
    np.testing.assert_array_equal(answers[2].scores, [6])


async def test_the_event_loop_is_free_meanwhile(backend, explainer):
    tasks = await begin(backend, explainer)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not tasks[0].done()  # and here we are
    backend.gate.set()
    await tasks[0]


async def test_drain_answers_what_was_admitted(backend, explainer):
    tasks = await begin(backend, explainer, call())
    drained = asyncio.create_task(explainer.drain())
    for _ in range(2):  # both queues close
        await asyncio.sleep(0)
    with pytest.raises(DrainingError):
        await explainer.explain(call())
    assert not drained.done()
    backend.gate.set()
    await drained
    assert all(task.done() for task in tasks)
