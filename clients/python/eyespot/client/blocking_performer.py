"""Performs the steps of an operation on the caller's thread, over one connection."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
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


class BlockingPerformer:
    """Performs steps on one connection.

    Args:
        name: Of the client, for its errors.
        address: Of the server.
        security: How the connection is secured.
        sleep: Waits for some seconds.
    """

    def __init__(
        self, name: str, address: str, *, security: Security, sleep: Callable[[float], None]
    ) -> None:
        self._name = name
        self._sleep = sleep
        self._is_closed = False
        self._channel = security.open_channel(grpc, address, options=CHANNEL_OPTIONS)
        self._stubs = Stubs(self._channel, security.metadata)

    def close(self) -> None:
        """Close the connection; calls that are under way are cancelled."""
        self._is_closed = True
        self._channel.close()

    def run(self, steps: Steps[Result]) -> Result:
        """Perform the steps of an operation, and give its result."""
        outcome = Outcome()
        while True:
            try:
                step = resume(steps, outcome)
            except StopIteration as end:
                result: Result = end.value
                return result
            outcome = self._outcome(step)

    def stream(self, steps: Steps[None]) -> Generator[Any, None, None]:
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
                    outcome = self._outcome(step)

    def _outcome(self, step: Step) -> Outcome:
        try:
            return Outcome(self._perform(step))
        except Exception as error:  # the operation decides what becomes of it
            return Outcome(error=error)

    def _perform(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return self._sleep(step.seconds)
        if isinstance(step, Work):
            return step.function()
        if self._is_closed:
            raise closed_error(self._name)
        try:
            if isinstance(step, Call):
                with calling(step.method) as metadata:
                    return self._stubs.start(step, metadata)
            if isinstance(step, Open):
                with calling(step.call.method) as metadata:
                    return self._stubs.start(step.call, metadata)
            assert isinstance(step, Receive)
            return next(step.stream, None)
        except grpc.RpcError as error:
            raise server_error(error) from error
