"""What a server takes that nobody calls."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.serving.ratios import Bar, Ratio
from benchmarks.serving.stage import measure, staged

_SECONDS = 10.0


def idle(rounds: int, folder: Path) -> list[Ratio]:
    """CPU of a server that has been called before, over the time in which it is not."""
    shares = []
    with staged("lenet5", (1, 32, 32), folder) as stage:
        measure(stage.served, stage.request, clients=8, calls=64)
        for _ in range(rounds):
            time.sleep(1.0)  # what the last calls have left to do
            before, began = stage.served.cpu_seconds(), time.monotonic()
            time.sleep(_SECONDS)
            took = stage.served.cpu_seconds() - before
            shares.append(took / (time.monotonic() - began))
    return [Ratio("idle, LeNet-5 loaded: CPU / time", tuple(shares), Bar(0.005))]
