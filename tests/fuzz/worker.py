"""A process that tries inputs, watched from outside: what ends or stops it is a finding."""

import asyncio
import logging
import multiprocessing
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.fuzz.campaign import Tally, fuzz, write_finding
from tests.fuzz.fault import FaultError
from tests.fuzz.served import region_object
from tests.fuzz.targets import draw_input

_HANG_SECONDS = 300  # busy machines are twenty times slower than idle ones
_START_SECONDS = 600  # an export on a busy machine
_MOST_BYTES = 4 << 30  # beyond, an allocation fails instead of taking the machine down


@dataclass(frozen=True)
class Campaign:
    """What all workers share: `jobs` of them try `inputs` inputs."""

    seed: int
    inputs: int
    jobs: int
    failures: Path


class Worker:
    """A process that tries every `step`-th input, and is started anew behind one that kills it."""

    def __init__(self, first: int, campaign: Campaign, tally: Tally) -> None:
        self._campaign, self._tally = campaign, tally
        self._next = first
        self._context = multiprocessing.get_context("spawn")
        self._at: Any = self._context.RawValue("q", -1)
        self._process: BaseProcess | None = None
        self._last, self._since = -1, 0.0
        self._start()

    def look(self) -> bool:
        """Sees how it goes on; says whether it is done."""
        assert self._process is not None
        try:
            while self._results.poll():
                tally = self._results.recv()
                if tally is None:
                    self._process.join()
                    return True
                self._tally.add(tally)
        except EOFError:  # told below
            self._process.join()
        if not self._process.is_alive():
            return self._go_on_behind(f"the process ended with {self._process.exitcode}")
        if self._at.value != self._last:
            self._last, self._since = self._at.value, time.monotonic()
            return False
        most = _START_SECONDS if self._last < 0 else _HANG_SECONDS
        if time.monotonic() - self._since > most:
            self._process.kill()
            self._process.join()
            return self._go_on_behind(f"it takes more than {most} seconds")
        return False

    @property
    def at(self) -> int:
        """The number of the input that is tried now."""
        return max(0, int(self._at.value))

    def _go_on_behind(self, told: str) -> bool:
        assert self._process is not None
        region_object(self._process.pid or 0).unlink(missing_ok=True)
        number = self._at.value
        if number < 0:
            raise SystemExit(f"a server could not be started: {told}")
        target, parts = draw_input(self._campaign.seed, number)
        finding = write_finding(self._campaign.failures, target, parts, FaultError(told))
        self._tally.findings[finding] += 1
        self._tally.outcomes[target.name, "FAULT"] += 1
        self._next = number + self._campaign.jobs
        self._start()
        return False

    def _start(self) -> None:
        self._results, there = self._context.Pipe(duplex=False)
        campaign = self._campaign
        numbers = range(self._next, campaign.inputs, campaign.jobs)
        arguments = (campaign.seed, numbers, campaign.failures, self._at, there)
        self._process = self._context.Process(target=_work, args=arguments)
        self._process.start()
        there.close()  # so that its end is seen here
        self._last, self._since = self._at.value, time.monotonic()


def _work(seed: int, numbers: Sequence[int], failures: Path, at: Any, results: Any) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, _MOST_BYTES))
    logging.getLogger().addHandler(logging.NullHandler())  # what inputs cause is no news

    def note(number: int) -> None:
        at.value = number

    async def tell() -> None:
        async for tally in fuzz(seed, numbers, failures, on_input=note):
            results.send(tally)
        results.send(None)

    asyncio.run(tell())
