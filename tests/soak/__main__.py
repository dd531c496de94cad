"""`python -m tests.soak`: a server under everything at once, and whether it is as it was before.

The exit code is 1 if an answer was wrong or lost, or if memory, file descriptors or threads were
kept. `--leak` lets a leak into the server: then it must be 1.
"""

import argparse
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.soak.clients import TURNS, Soak, clients
from tests.soak.leaking_server import LEAKS
from tests.soak.models import write_models
from tests.soak.picture import draw
from tests.soak.process import Sample, sample
from tests.soak.verdict import Check, judge

from benchmarks.processes import ServerProcess, running

_WARM_UP = 0.15  # of the time
_LEAST_WARM_UP_SECONDS, _REST_SECONDS, _MOST_RESTS = 3.0, 2.0, 10
_SAMPLES = 400
_LEAST_INTERVAL_SECONDS = 0.1
_TOLD_EVERY_SECONDS = 60


def main() -> int:
    """Soaks a server; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--leak", choices=LEAKS, help="let a leak into the server")
    parser.add_argument("--picture", type=Path, default=Path("soak.png"))
    options = parser.parse_args()
    print(f"{options.minutes:g} minutes with seed {options.seed}", flush=True)
    with (
        TemporaryDirectory(prefix="eyespot-soak-") as folder,
        _server(Path(folder), options.leak) as server,
    ):
        soak = Soak(server.port, options.seed, Path(folder) / "models", Path(folder) / "originals")
        before, samples, after = _run(soak, server, options.minutes * 60)
    checks = [*_answers(soak), *judge(samples, before, after)]
    _show(soak, checks, options.minutes)
    leak = f", with a leak of {options.leak}" if options.leak else ""
    draw(samples, before, options.picture, title=f"{options.minutes:g} minutes of soak{leak}")
    print(f"picture: {options.picture}")
    return 0 if all(check.holds for check in checks) else 1


@contextmanager
def _server(folder: Path, leak: str | None) -> Iterator[ServerProcess]:
    repository, originals = folder / "models", folder / "originals"
    originals.mkdir()
    write_models(repository, originals)
    module = "tests.soak.leaking_server" if leak else "eyespot.server"
    settings = ["--port", "0", "--model-control-mode", "explicit", "--load-model", "*"]
    first = [leak] if leak else []
    with running(module, [*first, repository, *settings, "--log-level", "warning"]) as server:
        yield server


def _run(
    soak: Soak, server: ServerProcess, seconds: float
) -> tuple[Sample, Sequence[Sample], Sample]:
    """What the server held at rest, under load, and at rest again."""
    warm_up = max(_LEAST_WARM_UP_SECONDS, _WARM_UP * seconds)
    with _load(soak, "warm-up"):
        time.sleep(warm_up)
    before = _at_rest(server)
    samples: list[Sample] = []
    with _load(soak, "soak"):
        begin = told = time.monotonic()
        while (elapsed := time.monotonic() - begin) < seconds:
            samples.append(sample(server.pid, elapsed / 60))
            if time.monotonic() - told > _TOLD_EVERY_SECONDS:
                told = time.monotonic()
                print(f"  {elapsed / 60:.0f} min, {samples[-1].memory_mib:.0f} MiB", flush=True)
            time.sleep(max(_LEAST_INTERVAL_SECONDS, seconds / _SAMPLES))
    return before, samples, _at_rest(server)


@contextmanager
def _load(soak: Soak, phase: str) -> Iterator[None]:
    end = threading.Event()
    threads = clients(soak, phase, end)
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()


def _at_rest(server: ServerProcess) -> Sample:
    """What it holds once that changes no more: connections close, and what was taken out ends."""
    last = sample(server.pid, 0)
    for _ in range(_MOST_RESTS):
        time.sleep(_REST_SECONDS)
        before, last = last, sample(server.pid, 0)
        if (before.descriptors, before.threads) == (last.descriptors, last.threads):
            break
    return last


def _answers(soak: Soak) -> list[Check]:
    return [
        Check(f"answers {what}", str(soak.counts[what]), "none", soak.counts[what] == 0)
        for what in ("wrong", "lost")
    ]


def _show(soak: Soak, checks: Sequence[Check], minutes: float) -> None:
    print(f"\n{'turns':30} {'':>8}")
    for kind in TURNS:
        print(f"{kind:30} {soak.counts[kind]:8}")
    print(f"\n{'check':30} {'found':>24}  limit")
    for check in checks:
        told = "" if check.holds else "   FAILS"
        print(f"{check.name:30} {check.found:>24}  {check.limit}{told}")
    for failure in soak.failures:
        print(failure)


if __name__ == "__main__":
    sys.exit(main())
