"""Performs the steps of an operation on an event loop, over one connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import grpc

from eyespot.client.channel import CHANNEL_OPTIONS, Stubs
from eyespot.client.errors import closed_error, server_error
from eyespot.client.security import Security
from eyespot.client.spans import calling
from eyespot.client.steps import (
    Call,
    Give,
    Open,
    Outcome,
    Pause,
    Receive,
    Result,
    Step,
    Steps,
    Work,
    resume,
)


class AsyncioPerformer:
    """Performs steps on one connection.

    Args:
        name: Of the client, for its errors.
        address: Of the server.
        security: How the connection is secured.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        name: str,
        address: str,
        *,
        security: Security,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._name = name
        self._sleep = sleep
        self._is_closed = False
        self._channel = security.open_channel(grpc.aio, address, options=CHANNEL_OPTIONS)
        self._stubs = Stubs(self._channel, security.metadata)

    async def close(self) -> None:
        """Close the connection; calls that are under way are cancelled."""
        self._is_closed = True
        await self._channel.close()

    async def run(self, steps: Steps[Result]) -> Result:
        """Perform the steps of an operation, and give its result."""
        outcome = Outcome()
        while True:
            try:
                step = resume(steps, outcome)
            except StopIteration as end:
                result: Result = end.value
                return result
            outcome = await self._outcome(step)

    async def stream(self, steps: Steps[None]) -> AsyncGenerator[Any, None]:
        """Perform the steps, and yield what they give."""
        outcome = Outcome()
        with contextlib.closing(steps):
            while True:
                try:
                    step = resume(steps, outcome)
                except StopIteration:
                    return
                if isinstance(step, Give):
                    yield step.value
                    outcome = Outcome()
                else:
                    outcome = await self._outcome(step)

    async def _outcome(self, step: Step) -> Outcome:
        try:
            return Outcome(await self._perform(step))
        except Exception as error:  # the operation decides what becomes of it
            return Outcome(error=error)

    async def _perform(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return await self._sleep(step.seconds)
        if isinstance(step, Work):
            return await asyncio.to_thread(step.function)
        if self._is_closed:
            raise closed_error(self._name)
        try:
            if isinstance(step, Call):
                with calling(step.method) as metadata:
                    return await self._stubs.start(step, metadata)
            if isinstance(step, Open):
                with calling(step.call.method) as metadata:
                    return self._stubs.start(step.call, metadata)
            assert isinstance(step, Receive)
            message = await step.stream.read()
            return None if message is grpc.aio.EOF else message
        except grpc.RpcError as error:
            raise server_error(error) from error
