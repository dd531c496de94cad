"""Inputs one after another, each counted, and what goes wrong written down to be played again."""

import base64
import json
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.fault import FaultError, Parts, Target
from tests.fuzz.served import Served, serving
from tests.fuzz.targets import TARGETS, draw_input

_INPUTS_BETWEEN_CANARIES = 50
_MOST_MIB = 512  # that one input may take, given back or not
_SLOW_SECONDS = 5.0  # of a processor


@dataclass(frozen=True)
class Finding:
    """An input that must not do what it does; it is written to `path`, once for each `where`."""

    target: str
    where: str
    told: str = field(compare=False)
    path: Path


@dataclass
class Tally:
    """What came of the inputs so far."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # by target and outcome
    findings: Counter[Finding] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Counts in what another process has found."""
        self.outcomes += other.outcomes
        self.findings += other.findings


async def fuzz(
    seed: int,
    numbers: Iterable[int],
    failures: Path,
    *,
    on_input: Callable[[int], None] = lambda _: None,
    with_original: bool = True,
) -> AsyncIterator[Tally]:
    """Gives the inputs of some numbers to one server; tells now and then what has come of them.

    Args:
        seed: Of the campaign.
        numbers: Of the inputs.
        failures: The folder that inputs are written to which go wrong.
        on_input: Called with each number before its input is tried.
        with_original: Whether a network is exported that can be differentiated.
    """
    tally = Tally()
    with TemporaryDirectory(prefix="eyespot-fuzz-") as folder:
        async with serving(Path(folder), with_original=with_original) as served:
            for count, number in enumerate(numbers):
                on_input(number)
                target, parts = draw_input(seed, number)
                try:
                    outcome = await _run(served, target, parts, ask_too=_is_due(count))
                    tally.outcomes[target.name, outcome] += 1
                except FaultError as fault:
                    tally.outcomes[target.name, "FAULT"] += 1
                    tally.findings[write_finding(failures, target, parts, fault)] += 1
                if _is_due(count):
                    yield tally
                    tally = Tally()
    yield tally


async def replay(path: Path, *, with_original: bool = True) -> str:
    """Gives an input that was written down to a new server; says what comes of it.

    Raises:
        FaultError: It still goes wrong.
    """
    target, parts = read_finding(path)
    with TemporaryDirectory(prefix="eyespot-fuzz-") as folder:
        async with serving(Path(folder), with_original=with_original) as served:
            return await _run(served, target, parts, ask_too=True)


async def _run(served: Served, target: Target, parts: Parts, *, ask_too: bool) -> str:
    begin, before = time.process_time(), _peak_mib()
    outcome = await target.run(served, parts)
    if ask_too:
        await served.ask_canary()
    if _peak_mib() - before > _MOST_MIB:
        raise FaultError(f"it takes {_peak_mib() - before:.0f} MiB of memory")
    if time.process_time() - begin > _SLOW_SECONDS:
        raise FaultError(f"it takes more than {_SLOW_SECONDS:g} seconds of a processor")
    return outcome


def write_finding(failures: Path, target: Target, parts: Parts, fault: FaultError) -> Finding:
    """Writes an input down, if it is the first that goes wrong where it does."""
    name = "".join(c if c.isalnum() else "-" for c in f"{target.name} {fault.where}")[:100]
    path = failures / f"{name}.json"
    if not path.exists():
        failures.mkdir(parents=True, exist_ok=True)
        written = {
            "target": target.name,
            "told": str(fault),
            "trace": fault.trace.splitlines(),
            "parts": {name: base64.b64encode(raw).decode() for name, raw in parts.items()},
        }
        path.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return Finding(target.name, fault.where, str(fault), path)


def read_finding(path: Path) -> tuple[Target, Parts]:
    """Reads an input that was written down."""
    written = json.loads(path.read_text(encoding="utf-8"))
    (target,) = (target for target in TARGETS if target.name == written["target"])
    return target, {name: base64.b64decode(text) for name, text in written["parts"].items()}


def _is_due(count: int) -> bool:
    return count % _INPUTS_BETWEEN_CANARIES == 0


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
