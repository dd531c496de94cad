"""What signals do; processes that get them are in test_app.py and tests/e2e."""

import asyncio
import logging
import os
import signal

from eyespot.server.signals import listening_to_signals


async def test_the_second_interrupt_ends_at_once(monkeypatch):
    told = []
    monkeypatch.setattr(os, "_exit", told.append)
    monkeypatch.setattr(logging, "shutdown", lambda: told.append("lines are written"))

    async def send(number):
        before = len(told)
        os.kill(os.getpid(), number)
        while len(told) == before:  # noqa: ASYNC110  (signals have no event)
            await asyncio.sleep(0)

    with listening_to_signals(
        drain=lambda: told.append("drain"), reload=lambda: told.append("reload")
    ):
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            await send(number)
    assert told == ["reload", "drain", "drain", "lines are written", 130, "drain"]
