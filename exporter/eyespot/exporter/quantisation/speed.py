"""How fast a derived graph is here, and how large, beside its source."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from eyespot.exporter.latency import measure_latencies, runner
from eyespot.exporter.parity import open_session

_BATCH_SIZES = (1, 8)
_REPEATS = 11
_OPENINGS = 3


@dataclass(frozen=True)
class Speed:
    """Medians, measured in turns.

    Attributes:
        batch_size: Rows of a run.
        source_ms: Milliseconds of the source.
        derived_ms: Of what was made of it.
    """

    batch_size: int
    source_ms: float
    derived_ms: float

    @property
    def ratio(self) -> float:
        """How many times as fast."""
        return self.source_ms / self.derived_ms


def measure_speed(
    source: Path, derived: Path, *, row_shapes: Sequence[Sequence[int]], max_batch_size: int
) -> tuple[Speed, ...]:
    """Time both graphs on one row, and on eight where so many may come.

    Args:
        source: A graph.
        derived: Another.
        row_shapes: Of one row of each input.
        max_batch_size: Most rows of a batch.
    """
    sizes = sorted({min(size, max_batch_size) for size in _BATCH_SIZES})
    runs = [runner(open_session(path), row_shapes) for path in (source, derived)]
    before, after = measure_latencies(runs, batch_sizes=sizes, repeats=_REPEATS)
    return tuple(
        Speed(size, before.seconds[size] * 1e3, after.seconds[size] * 1e3)
        for size in sizes
        if size in before.seconds and size in after.seconds
    )


def measure_opening(source: Path, derived: Path) -> tuple[float, float]:
    """Time how long ONNX Runtime takes to open each, in milliseconds."""
    times: dict[Path, list[float]] = {source: [], derived: []}
    for _ in range(_OPENINGS):
        for path, taken in times.items():
            began = time.perf_counter()
            open_session(path)
            taken.append((time.perf_counter() - began) * 1e3)
    return median(times[source]), median(times[derived])
