"""Requests of one stream, answered side by side, their answers written in their order.

Each request has a task, and that task writes its answer: no queue lies between them and no writer
waits for both, which is half of what a message of a stream would cost.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


async def answer_in_order(
    requests: AsyncIterator[RequestT],
    answer: Callable[[RequestT], Awaitable[ResponseT]],
    write: Callable[[ResponseT], Awaitable[object]],
    *,
    most_in_flight: int,
    end: asyncio.Event,
) -> None:
    """Begins to answer each request when it arrives; returns when all answers are written.

    Args:
        requests: As they arrive.
        answer: Must not raise: an error of one request is an answer too.
        write: Sends an answer; one at a time.
        most_in_flight: Requests that are not answered yet; beyond, none is read, so that
            who sends faster than it reads is slowed down and not remembered.
        end: Once set, no request is read any more; those that were read are answered.

    Raises:
        Exception: What `requests` or `write` raised; nothing more is answered then.
    """
    slots = asyncio.Semaphore(most_in_flight)

    async def answer_one(request: RequestT, before: asyncio.Task[None] | None) -> None:
        response = await answer(request)
        if before is not None and not before.done():
            await asyncio.wait((before,))
        await write(response)
        slots.release()

    async def read() -> None:
        iterator = aiter(requests)
        last: asyncio.Task[None] | None = None
        while True:
            await slots.acquire()
            try:
                request = await anext(iterator)
            except StopAsyncIteration:
                return
            last = group.create_task(answer_one(request, last))

    try:
        async with asyncio.TaskGroup() as group:  # who goes takes all requests along
            reading, ending = group.create_task(read()), group.create_task(end.wait())
            await asyncio.wait((reading, ending), return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            ending.cancel()
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
