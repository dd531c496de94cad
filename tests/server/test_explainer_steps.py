"""Methods of many steps: progress, who stops when, and who computes together."""

import asyncio

import numpy as np
import pytest
from tests.server.explaining import WEIGHT, call

from eyespot.server.errors import (
    DeadlineExceededError,
    UnavailableError,
)
from eyespot.server.explainer import (
    Explainer,
    Targets,
)

STEPPING = {"method": "integrated_gradients", "parameters": {"n_steps": 6}}


async def test_steps_are_told_with_their_progress(explainer):
    steps = [step async for step in explainer.explain_in_steps(call(targets=None, **STEPPING))]
    progress = [progress for progress, _ in steps]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    # A linear network's gradient is the same all along the line: each step knows it.
    for _, explained in steps:
        np.testing.assert_allclose(explained.attributions, [WEIGHT[1]], rtol=1e-6)


async def test_a_method_of_one_step_streams_its_answer(explainer):
    steps = [step async for step in explainer.explain_in_steps(call())]
    assert [progress for progress, _ in steps] == [1.0]


async def _turns():
    for _ in range(4):
        await asyncio.sleep(0)


async def _step_once(backend):
    """Let the explainer's thread take one step more, and wait until it is in the next."""
    await asyncio.to_thread(backend.started.acquire)


async def test_a_cancelled_call_stops_within_one_step(backend, explainer):
    backend.gate.clear()
    task = asyncio.create_task(explainer.explain(call(**STEPPING)))
    await _step_once(backend)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    backend.gate.set()
    await explainer.explain(call(first=9.0))  # the thread is free again
    assert [len(batch) for batch in backend.batches] == [2, 1]
    assert backend.batches[-1] == [9.0]


async def test_an_expired_call_stops_within_one_step(backend):
    class Clock:
        now = 0.0

        def time(self):
            return self.now

        def call_later(self, delay, callback):
            raise AssertionError("nothing waits")

    clock = Clock()
    explainer = Explainer("tiny", backend=backend, clock=clock)
    backend.gate.clear()
    task = asyncio.create_task(explainer.explain(call(deadline=5.0, **STEPPING)))
    await _step_once(backend)
    clock.now = 6.0
    backend.gate.set()
    with pytest.raises(DeadlineExceededError, match="33% of it was computed"):
        await task
    assert len(backend.batches) == 1
    explainer.close()


async def test_a_stream_that_is_left_stops_within_one_step(backend, explainer):
    backend.gate.clear()
    stream = explainer.explain_in_steps(call(**STEPPING))
    first = asyncio.create_task(anext(stream))
    await _step_once(backend)
    backend.gate.set()
    await first
    backend.gate.clear()
    await stream.aclose()
    backend.gate.set()
    await explainer.explain(call(first=9.0))
    assert backend.batches[-1] == [9.0]


async def test_a_stream_that_is_cut_off_leaves_no_task_behind(backend, explainer):
    before = asyncio.all_tasks()
    backend.gate.clear()
    stream = explainer.explain_in_steps(call(**STEPPING))
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    backend.gate.set()
    await explainer.drain()
    await asyncio.sleep(0)
    left = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}
    assert "Queue.get" not in left


async def test_closing_ends_a_long_call_with_its_next_step(backend, explainer):
    backend.gate.clear()
    task = asyncio.create_task(explainer.explain(call(**STEPPING)))
    await _step_once(backend)
    explainer.close()
    backend.gate.set()
    with pytest.raises(UnavailableError):
        await task
    assert len(backend.batches) == 1


async def test_a_long_call_keeps_a_quick_one_waiting_for_one_step_only(backend, explainer):
    backend.gate.clear()
    long = asyncio.create_task(explainer.explain(call(**STEPPING)))
    await _step_once(backend)
    quick = asyncio.create_task(explainer.explain(call(first=9.0)))
    for _ in range(4):
        await asyncio.sleep(0)
    backend.gate.set()
    await quick
    assert not long.done()
    await long
    assert backend.batches[1] == [9.0]


async def test_calls_that_ask_for_the_same_share_their_steps(backend, explainer):
    backend.most = 4
    backend.gate.clear()
    first = asyncio.create_task(explainer.explain(call(first=1.0, **STEPPING)))
    await _step_once(backend)
    others = [
        asyncio.create_task(explainer.explain(call(first=value, rows=rows, **STEPPING)))
        for value, rows in ((2.0, 1), (3.0, 2))
    ]
    await _turns()
    backend.gate.set()
    answers = await asyncio.gather(first, *others)
    # 6 points of each of 4 rows: 3 before there was company, then 21 as if they were one's.
    assert [len(batch) for batch in backend.batches] == [3, 4, 4, 4, 3, 3, 3]
    for answer, (value, rows) in zip(answers, ((1.0, 1), (2.0, 1), (3.0, 2)), strict=True):
        alone = await explainer.explain(call(first=value, rows=rows, **STEPPING))
        np.testing.assert_array_equal(answer.attributions, alone.attributions)
        np.testing.assert_array_equal(answer.scores, alone.scores)
        assert answer.reports == alone.reports


async def test_calls_that_ask_for_other_things_do_not_share_steps(backend, explainer):
    backend.most = 8
    more = {"method": "integrated_gradients", "parameters": {"n_steps": 7}}
    await asyncio.gather(explainer.explain(call(**STEPPING)), explainer.explain(call(**more)))
    assert sorted(map(len, backend.batches)) == [6, 7]


async def test_who_leaves_a_shared_step_takes_its_rows_along(backend, explainer):
    backend.most = 4
    backend.gate.clear()
    leaving = asyncio.create_task(explainer.explain(call(first=7.0, rows=8, **STEPPING)))
    await _step_once(backend)
    staying = asyncio.create_task(explainer.explain(call(first=1.0, **STEPPING)))
    await _turns()
    leaving.cancel()
    await _turns()
    backend.gate.set()
    answer = await staying
    # The step that ran, and then those of who is left alone.
    assert [len(batch) for batch in backend.batches] == [4, 3, 3]
    np.testing.assert_allclose(answer.attributions, [WEIGHT[1]], rtol=1e-6)


async def test_a_call_that_fails_in_a_shared_step_fails_alone(backend, explainer):
    backend.most = 4
    backend.fails_on = 0.75  # a point of the line to 1.5, with one step half way
    halfway = {"method": "integrated_gradients", "parameters": {"n_steps": 1}}
    answers = await asyncio.gather(
        explainer.explain(call(first=1.5, **halfway)),
        explainer.explain(call(first=1.0, **halfway)),
        return_exceptions=True,
    )
    assert isinstance(answers[0], ArithmeticError)
    np.testing.assert_allclose(answers[1].attributions, [WEIGHT[1]], rtol=1e-6)


async def test_more_callers_than_rows_fit_take_turns(backend):
    explainer = Explainer("tiny", backend=backend, max_queue_size=5)
    targets = Targets(np.array([0]))
    calls = [call(first=float(value), targets=targets, **STEPPING) for value in range(1, 6)]
    answers = await asyncio.gather(*map(explainer.explain, calls))
    assert max(map(len, backend.batches)) == 2
    assert sum(map(len, backend.batches)) == 5 * 6
    for value, answer in enumerate(answers, start=1):
        assert answer.attributions[0, 0, 0] == pytest.approx(value)  # the first weight is 1
    explainer.close()
