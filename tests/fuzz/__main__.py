"""`python -m tests.fuzz`: a hundred thousand inputs that nobody should send.

Processes of their own give them to servers of their own, so that a crash and a hang are findings
like any other. The exit code is 1 if there is one.
"""

import argparse
import asyncio
import os
import secrets
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.campaign import Tally, replay
from tests.fuzz.fault import FaultError
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import Campaign, Worker

_LOOK_SECONDS, _TOLD_EVERY_SECONDS = 0.5, 30


def main() -> int:
    """Runs a campaign, or one input again; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="folder")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="one input of that folder")
    options = parser.parse_args()
    return _play_again(options.replay) if options.replay else _run(options)


def _run(options: argparse.Namespace) -> int:
    print(f"{options.inputs} inputs of seed {options.seed} in {options.jobs} processes", flush=True)
    begin, told = time.monotonic(), time.monotonic()
    tally = Tally()
    campaign = Campaign(options.seed, options.inputs, options.jobs, options.failures)
    with TemporaryDirectory(prefix="eyespot-fuzz-") as folder:
        os.environ["TMPDIR"] = folder  # of the workers: what is killed leaves its files here
        running = [Worker(first, campaign, tally) for first in range(options.jobs)]
        while running:
            time.sleep(_LOOK_SECONDS)
            running = [worker for worker in running if not worker.look()]
            if running and time.monotonic() - told > _TOLD_EVERY_SECONDS:
                told = time.monotonic()
                print(f"  {min(worker.at for worker in running)} of {options.inputs}", flush=True)
    _show(tally)
    print(f"{tally.outcomes.total()} inputs in {time.monotonic() - begin:.0f} s; ", end="")
    print(f"{len(tally.findings)} faults" if tally.findings else "no fault")
    return 1 if tally.findings else 0


def _show(tally: Tally) -> None:
    for target in TARGETS:
        of_target = {o: n for (name, o), n in tally.outcomes.items() if name == target.name}
        commonest = sorted(of_target.items(), key=lambda item: -item[1])
        told = ", ".join(f"{outcome} {count}" for outcome, count in commonest)
        print(f"{target.name:18} {sum(of_target.values()):7}  {told}")
    for finding, count in tally.findings.most_common():
        print(f"\nFAULT, {count} times: {finding.target}: {finding.told}\n  {finding.where}")
        print(f"  again: python -m tests.fuzz --replay {finding.path}")


def _play_again(path: Path) -> int:
    try:
        print(asyncio.run(replay(path)))
    except FaultError as fault:
        print(f"FAULT: {fault}\n{fault.trace}", end="")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
