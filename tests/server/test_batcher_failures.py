"""A batch that fails: the bad request fails alone, and the next batch runs."""

import asyncio

import pytest
from tests.server.batching import make, start, turns

from eyespot.server.errors import (
    UnavailableError,
)


async def test_a_bad_request_fails_alone(clock):
    batches = []

    async def execute(items):
        batches.append(list(items))
        if 2 in items:
            raise ArithmeticError(f"no {items}")
        return [-item for item in items]

    batcher = make(execute, clock)
    answers = await asyncio.gather(
        *(start(batcher, item) for item in (1, 2, 3)), return_exceptions=True
    )
    assert batches == [[1, 2, 3], [1], [2], [3]]
    assert (answers[0].result, answers[2].result) == (-1, -3)
    assert answers[0].batch_rows == 1
    assert str(answers[1]) == "no [2]"


async def test_a_lone_request_that_fails_is_not_repeated(executor, clock):
    call = start(make(executor, clock), 1)
    await turns()
    executor.finish(error=ArithmeticError("no"))
    with pytest.raises(ArithmeticError):
        await call
    assert executor.batches == [[1]]


async def test_a_request_cancelled_before_the_retry_is_not_repeated(executor, clock):
    batcher = make(executor, clock)
    calls = [start(batcher, item) for item in (1, 2)]
    await turns()
    calls[0].cancel()
    executor.finish(error=ArithmeticError("no"))
    await turns()
    assert executor.batches == [[1, 2], [2]]
    executor.finish()
    assert (await calls[1]).result == -2


async def test_a_stopped_execution_answers_its_batch_and_the_next_one_runs(executor, clock):
    batcher = make(executor, clock)
    calls = [start(batcher, item) for item in (1, 2)]
    await turns()
    waiting = start(batcher, 3)
    await turns()
    executor.running.pop()[1].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [UnavailableError, UnavailableError]
    await turns()
    executor.finish()
    assert (await waiting).result == -3
