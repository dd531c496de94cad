"""What a model did between two looks at its counters: rates, batches, latencies."""

from __future__ import annotations

from dataclasses import dataclass

from eyespot.client import Histogram, ModelStatistics


@dataclass(frozen=True)
class Activity:
    """One model version over a stretch of time; None where nothing happened or is told.

    Attributes:
        requests_per_second: Answered.
        rows_per_second: Inferred.
        failures_per_second: Refused or failed, calls for attributions among them.
        explanations_per_second: Calls for attributions that were answered.
        waiting: Requests in the queue at the end.
        mean_batch: Rows in a batch, on average.
        largest_batch: Rows in the largest batch.
        queue_ms: The 95th percentile of the wait for a session.
        latency_ms: The 50th, 95th and 99th percentile from arrival to answer.
    """

    requests_per_second: float
    rows_per_second: float
    failures_per_second: float
    explanations_per_second: float
    waiting: int
    mean_batch: float | None
    largest_batch: int | None
    queue_ms: float | None
    latency_ms: tuple[float | None, float | None, float | None]


def activity_between(
    before: ModelStatistics | None, after: ModelStatistics, seconds: float
) -> Activity:
    """Compare two looks that lie so many seconds apart.

    Args:
        before: The earlier look; None, or one with more in it, is of another life of the
            model, as when it was loaded anew meanwhile: then everything is new.
        after: The later look.
        seconds: Between them.
    """
    if before is not None and _is_of_another_life(before, after):
        before = None
    requests = after.success.count - (before.success.count if before else 0)
    rows = after.inference_count - (before.inference_count if before else 0)
    batches = after.execution_count - (before.execution_count if before else 0)
    failures = _failures(after) - (_failures(before) if before else 0)
    old_sizes = before.batch_counts if before else {}
    sizes = [size for size, n in after.batch_counts.items() if n > old_sizes.get(size, 0)]
    latency = _during("request_seconds", before, after)
    explained = _during("explain_seconds", before, after)
    return Activity(
        requests_per_second=requests / seconds,
        rows_per_second=rows / seconds,
        failures_per_second=failures / seconds,
        explanations_per_second=sum(explained.counts) / seconds,
        waiting=after.pending_request_count,
        mean_batch=rows / batches if batches else None,
        largest_batch=max(sizes, default=None),
        queue_ms=_milliseconds(_during("queue_seconds", before, after), 0.95),
        latency_ms=(
            _milliseconds(latency, 0.5),
            _milliseconds(latency, 0.95),
            _milliseconds(latency, 0.99),
        ),
    )


def _is_of_another_life(before: ModelStatistics, after: ModelStatistics) -> bool:
    return (
        before.success.count > after.success.count
        or _failures(before) > _failures(after)
        or before.inference_count > after.inference_count
        or before.explain_success.count > after.explain_success.count
    )


def _failures(look: ModelStatistics) -> int:
    return look.fail.count + look.explain_fail.count


def _during(name: str, before: ModelStatistics | None, after: ModelStatistics) -> Histogram:
    found = after.histograms.get(name)
    if found is None:  # a server that tells none
        return Histogram((), (0,))
    earlier = before.histograms.get(name) if before else None
    return found if earlier is None else found.since(earlier)


def _milliseconds(histogram: Histogram, share: float) -> float | None:
    seconds = histogram.quantile(share)
    return None if seconds is None else seconds * 1e3
