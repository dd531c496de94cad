"""Answers in the order of their requests, whatever ran first: Triton's `preserve_ordering`."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

ResultT = TypeVar("ResultT")


class AnswerOrder:
    """Gives answers in the order in which they were asked for."""

    def __init__(self) -> None:
        self._last: asyncio.Future[None] | None = None

    async def keep(self, awaitable: Awaitable[ResultT]) -> ResultT:
        """Await something, and then everything that was begun before it."""
        before = self._last
        turn = self._last = asyncio.get_running_loop().create_future()
        try:
            return await awaitable
        finally:
            if before is not None and not before.done():
                # Also who was cancelled keeps its place, for those behind it.
                before.add_done_callback(lambda _: turn.set_result(None))
                await asyncio.shield(before)
            else:
                turn.set_result(None)
