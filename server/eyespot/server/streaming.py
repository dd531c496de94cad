"""Requests of one stream, answered side by side and given back in their order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


async def answer_in_order(
    requests: AsyncIterator[RequestT],
    answer: Callable[[RequestT], Awaitable[ResponseT]],
    *,
    most_in_flight: int,
    end: asyncio.Event,
) -> AsyncIterator[ResponseT]:
    """Begins to answer each request when it arrives.

    Args:
        requests: As they arrive.
        answer: Must not raise: an error of one request is an answer too.
        most_in_flight: Requests that are not answered yet; beyond, none is read, so that
            who sends faster than it reads is slowed down and not remembered.
        end: Once set, no request is read any more; those that were read are answered.
    """
    # None ends it.
    started: asyncio.Queue[asyncio.Future[ResponseT] | None] = asyncio.Queue()
    running: set[asyncio.Future[ResponseT]] = set()
    slots = asyncio.Semaphore(most_in_flight)

    async def read() -> None:
        iterator = aiter(requests)
        while True:
            await slots.acquire()
            try:
                request = await anext(iterator)
            except StopAsyncIteration:
                return
            task = asyncio.ensure_future(answer(request))
            running.add(task)
            started.put_nowait(task)

    async def read_until_end() -> None:
        reading, ending = asyncio.ensure_future(read()), asyncio.ensure_future(end.wait())
        try:
            await asyncio.wait((reading, ending), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            reading.cancel()
            ending.cancel()
            started.put_nowait(None)

    reader = asyncio.ensure_future(read_until_end())
    try:
        while (task := await started.get()) is not None:
            response = await task
            running.discard(task)
            slots.release()
            yield response
        await reader
    finally:  # the caller may have gone: what it asked for must not go on
        reader.cancel()
        for task in running:
            task.cancel()
