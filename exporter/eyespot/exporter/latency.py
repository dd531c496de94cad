"""How long ONNX Runtime takes for several models here, measured in turns.

A machine that is slow for a moment slows all of them, so the ratios between models hold where the
milliseconds do not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime

BATCH_SIZES = (1, 2, 4, 8, 16, 32)

# A larger batch than one that takes so long is not tried.
_SECONDS_OF_A_RUN = 0.5

_DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int64)": np.int64}

RunBatch = Callable[[int], object]


@dataclass(frozen=True)
class Latency:
    """Medians of one model.

    Attributes:
        seconds: Of a run, by the number of its rows.
    """

    seconds: Mapping[int, float]

    @property
    def single(self) -> float:
        """Seconds of a run of one row."""
        return self.seconds[1]

    @property
    def best_batch(self) -> int:
        """The rows of a run that take least time each."""
        return min(self.seconds, key=lambda size: self.seconds[size] / size)

    @property
    def best(self) -> float:
        """Seconds of one row in such a run."""
        return self.seconds[self.best_batch] / self.best_batch


def measure_latencies(
    runs: Sequence[RunBatch],
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    repeats: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Latency]:
    """Time several models in turns: each repeat runs every model once.

    Args:
        runs: Each runs one model on so many rows.
        batch_sizes: To try, from 1 upwards.
        repeats: Runs of each, of which the median counts, after one that does not count.
        clock: Seconds that never run backwards.
    """
    seconds: list[dict[int, float]] = [{} for _ in runs]
    for size in batch_sizes:
        taking_part = [
            number
            for number, found in enumerate(seconds)
            if all(value < _SECONDS_OF_A_RUN for value in found.values())
        ]
        times: dict[int, list[float]] = {number: [] for number in taking_part}
        for number in taking_part:
            runs[number](size)
        for _ in range(repeats):
            for number in taking_part:
                began = clock()
                runs[number](size)
                times[number].append(clock() - began)
        for number, found in times.items():
            seconds[number][size] = statistics.median(found)
    return [Latency(found) for found in seconds]


def runner(session: onnxruntime.InferenceSession, shapes: Sequence[Sequence[int]]) -> RunBatch:
    """Make a function that runs a session on so many rows of zeros.

    Args:
        session: Of one model.
        shapes: Of one row of each of its inputs, rows first.
    """
    inputs = session.get_inputs()

    def run(rows: int) -> object:
        feed = {
            each.name: np.zeros((rows, *shape[1:]), _DTYPES[each.type])
            for each, shape in zip(inputs, shapes, strict=True)
        }
        return session.run(None, feed)

    return run
