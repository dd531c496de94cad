"""Counters of one model version since it was loaded, as ModelStatistics tells them.

`inference_count` counts rows and `execution_count` batches: their quotient is the mean
batch. Durations are summed per request, those in `batches` per batch. Written and read
on the event loop only, so there is no lock.
"""

import itertools
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

# Of what runs the requests: a run that failed on good inputs, a thread that died, and memory
# that did not suffice for a batch.
FAULTS = ("run", "thread", "memory")
FAILURE_REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
# The fields of Statistics that are histograms, and what they tell.
HISTOGRAMS = {
    "request_seconds": "How long answered requests took",
    "queue_seconds": "How long requests waited for a session",
    "compute_seconds": "How long batches took",
    "batch_rows": "How many rows batches had",
    "explain_seconds": "How long answered calls for attributions took",
}
# From a tenth of a millisecond to ten seconds, each about the double of the one before.
_SECONDS = (
    1e-4,
    2e-4,
    5e-4,
    1e-3,
    2e-3,
    5e-3,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
)
_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class BatchTimes(NamedTuple):
    """Where the time of one batch went."""

    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int


@dataclass(slots=True)
class Duration:
    """How often something happened, and how long it took in total."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Counts an event of `ns` nanoseconds."""
        self.count += 1
        self.ns += ns


@dataclass(slots=True)
class BatchDurations:
    """The durations of the batches of one size."""

    count: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0

    def add(self, times: BatchTimes, *, count: int = 1) -> None:
        """Counts `count` events that took `times` each."""
        self.count += count
        self.input_ns += count * times.compute_input_ns
        self.infer_ns += count * times.compute_infer_ns
        self.output_ns += count * times.compute_output_ns

    @property
    def compute_input(self) -> Duration:
        """Joining the inputs."""
        return Duration(self.count, self.input_ns)

    @property
    def compute_infer(self) -> Duration:
        """Running the session."""
        return Duration(self.count, self.infer_ns)

    @property
    def compute_output(self) -> Duration:
        """Taking the outputs apart."""
        return Duration(self.count, self.output_ns)


@dataclass(slots=True)
class Histogram:
    """How often a value fell below each of some bounds, and the sum of all."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)  # by bound, the last for what is beyond
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, int]]:
        """For each bound, how many values were not above it; as Prometheus wants it."""
        names = [*map(str, self.bounds), "+Inf"]
        return list(zip(names, itertools.accumulate(self.counts), strict=True))


def _seconds() -> Histogram:
    return Histogram(_SECONDS)


def _rows() -> Histogram:
    return Histogram(_ROWS)


@dataclass(slots=True)
class Statistics:
    """Everything that is counted for one model version.

    `failures` are counted by Triton's reasons: REJECTED before they ran, CANCELED by their
    caller, BACKEND for the session's errors, OTHER. `faults` are those that are no request's.
    """

    inference_count: int = 0
    execution_count: int = 0
    last_inference_ms: int = 0  # since the epoch
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    requests: BatchDurations = field(default_factory=BatchDurations)
    batches: dict[int, BatchDurations] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAILURE_REASONS, 0))
    faults: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAULTS, 0))
    request_seconds: Histogram = field(default_factory=_seconds)
    queue_seconds: Histogram = field(default_factory=_seconds)
    compute_seconds: Histogram = field(default_factory=_seconds)
    batch_rows: Histogram = field(default_factory=_rows)
    explain_seconds: Histogram = field(default_factory=_seconds)
    explain_success: Duration = field(default_factory=Duration)
    explain_fail: Duration = field(default_factory=Duration)

    def record_batch(self, times: BatchTimes, *, rows: int, requests: int) -> None:
        """Counts one batch that ran."""
        self.inference_count += rows
        self.execution_count += 1
        self.last_inference_ms = time.time_ns() // 1_000_000
        self.requests.add(times, count=requests)
        durations = self.batches.get(rows)
        if durations is None:
            durations = self.batches[rows] = BatchDurations()
        durations.add(times)
        self.compute_seconds.add(sum(times) / 1e9)
        self.batch_rows.add(rows)

    def record_success(self, ns: int, *, queue_ns: int) -> None:
        """Counts one request that was answered after `ns`."""
        self.success.add(ns)
        self.queue.add(queue_ns)
        self.request_seconds.add(ns / 1e9)
        self.queue_seconds.add(queue_ns / 1e9)

    def record_failure(self, ns: int, *, reason: str) -> None:
        """Counts one admitted or refused request that got no answer."""
        self.fail.add(ns)
        self.failures[reason] += 1

    def record_fault(self, kind: str) -> None:
        """Counts one fault of what runs the requests."""
        self.faults[kind] += 1

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Counts a call for attributions: whoever leaves the block by an error has no answer."""
        start = time.perf_counter_ns()
        try:
            yield
        except BaseException:
            self.explain_fail.add(time.perf_counter_ns() - start)
            raise
        ns = time.perf_counter_ns() - start
        self.explain_success.add(ns)
        self.explain_seconds.add(ns / 1e9)
