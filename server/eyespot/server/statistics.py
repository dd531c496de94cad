"""Counters of one model version since it was loaded, as ModelStatistics tells them.

`inference_count` counts rows and `execution_count` batches: their quotient is the mean
batch. Durations are summed per request, those in `batches` per batch. Written and read
on the event loop only, so there is no lock.
"""

import time
from dataclasses import dataclass, field
from typing import NamedTuple


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

    def add(self, ns: int, *, count: int = 1) -> None:
        """Counts `count` events of `ns` nanoseconds each."""
        self.count += count
        self.ns += ns * count


@dataclass(slots=True)
class BatchDurations:
    """The durations of the batches of one size."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)

    def add(self, times: BatchTimes, *, count: int = 1) -> None:
        """Counts `count` events that took `times` each."""
        self.compute_input.add(times.compute_input_ns, count=count)
        self.compute_infer.add(times.compute_infer_ns, count=count)
        self.compute_output.add(times.compute_output_ns, count=count)


@dataclass(slots=True)
class Statistics:
    """Everything that is counted for one model version."""

    inference_count: int = 0
    execution_count: int = 0
    last_inference_ms: int = 0  # since the epoch
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    requests: BatchDurations = field(default_factory=BatchDurations)
    batches: dict[int, BatchDurations] = field(default_factory=dict)

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

    def record_success(self, ns: int, *, queue_ns: int) -> None:
        """Counts one request that was answered after `ns`."""
        self.success.add(ns)
        self.queue.add(queue_ns)

    def record_failure(self, ns: int) -> None:
        """Counts one admitted or refused request that got no answer."""
        self.fail.add(ns)
