"""Streams: order, many in flight, errors of one message, ends."""

import asyncio

import grpc
import numpy as np
import pytest
from tests.server.tiny import BATCHING, affine, infer_request, read_outputs

from eyespot.server.streaming import answer_in_order


class Answers:
    """Answers that come when the test says so."""

    def __init__(self):
        self.waiting = {}

    async def __call__(self, request):
        self.waiting[request] = asyncio.get_running_loop().create_future()
        return await self.waiting[request]

    def give(self, request):
        self.waiting[request].set_result(f"answer to {request}")


async def turns():
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def one_by_one(*requests):
    for request in requests:
        yield request


def answering(requests, answers, answered, *, most_in_flight=9, end=None):
    """Answer in order, and note what is written."""

    async def write(response):
        await asyncio.sleep(0)
        answered.append(response)

    end = end or asyncio.Event()
    return asyncio.ensure_future(
        answer_in_order(requests, answers, write, most_in_flight=most_in_flight, end=end)
    )


async def test_answers_keep_the_order_of_the_requests_and_run_side_by_side():
    answers, answered = Answers(), []
    task = answering(one_by_one(1, 2, 3), answers, answered)
    await turns()
    assert list(answers.waiting) == [1, 2, 3]
    answers.give(3)
    answers.give(1)
    await turns()
    assert answered == ["answer to 1"]
    answers.give(2)
    await task
    assert answered == ["answer to 1", "answer to 2", "answer to 3"]


async def test_no_more_is_read_than_may_be_in_flight():
    answers, answered = Answers(), []
    task = answering(one_by_one(1, 2, 3), answers, answered, most_in_flight=2)
    await turns()
    assert list(answers.waiting) == [1, 2]
    answers.give(1)
    await turns()
    assert list(answers.waiting) == [1, 2, 3]
    answers.give(2)
    answers.give(3)
    await task
    assert len(answered) == 3


async def test_the_end_stops_reading_and_loses_nothing_that_was_read():
    answers, answered, end = Answers(), [], asyncio.Event()

    async def endless():
        yield 1
        yield 2
        await asyncio.get_running_loop().create_future()

    task = answering(endless(), answers, answered, most_in_flight=2, end=end)
    await turns()
    end.set()
    await turns()
    assert not task.done()
    answers.give(1)
    answers.give(2)
    await task
    assert answered == ["answer to 1", "answer to 2"]


async def test_who_goes_takes_its_requests_along():
    answers = Answers()
    task = answering(one_by_one(1, 2), answers, [])
    await turns()
    task.cancel()
    await turns()
    assert [future.cancelled() for future in answers.waiting.values()] == [True, True]


async def test_a_stream_that_breaks_is_an_error():
    async def broken():
        yield 1
        raise OSError("gone")

    answers = Answers()
    with pytest.raises(OSError, match="gone"):
        await answering(broken(), answers, [])
    assert answers.waiting[1].cancelled()


async def test_an_answer_that_cannot_be_written_ends_the_stream():
    async def endless():
        yield 1
        await asyncio.get_running_loop().create_future()

    async def answer(request):
        return request

    async def write(response):
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await answer_in_order(endless(), answer, write, most_in_flight=9, end=asyncio.Event())


def request_of(number, model_name="net", width=4):
    request = infer_request(model_name, x=np.full((1, width), number, np.float32))
    request.id = str(number)
    return request


async def test_a_stream_over_a_real_connection(repository, serving):
    repository.add("net", affine(), config=BATCHING.format(rows=8, options=""))
    sent = [
        request_of(number, width=5 if number == 3 else 4, model_name="no" if number == 4 else "net")
        for number in range(8)
    ]
    sent[5].parameters["triton_enable_empty_final_response"].bool_param = True
    async with serving() as (_, client):
        call = client.inference.ModelStreamInfer(one_by_one(*sent))
        found = [response async for response in call]
    assert [response.infer_response.id for response in found] == [str(n) for n in range(8)]
    for number, response in enumerate(found):
        if number in (3, 4):
            continue
        assert response.error_message == ""
        outputs = read_outputs(response.infer_response)
        assert outputs["y"].tolist() == [[2.0 * number + 1] * 4]
    assert "Expected [-1,4], got [1,5]" in found[3].error_message
    assert "unknown model: 'no'" in found[4].error_message
    finals = ["triton_final_response" in each.infer_response.parameters for each in found]
    assert finals == [number == 5 for number in range(8)]


async def test_an_open_stream_does_not_hold_up_the_drain(repository, serving):
    repository.add("net", affine())
    async with serving() as (server, client):
        call = client.inference.ModelStreamInfer()
        await call.write(request_of(1))
        answer = await call.read()
        assert answer.infer_response.id == "1"
        draining = asyncio.ensure_future(server.drain())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await draining
