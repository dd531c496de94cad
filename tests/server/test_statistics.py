"""Counters, by hand."""

import pytest

from eyespot.server.statistics import BatchTimes, Statistics


def test_batches_and_requests_are_counted_apart():
    counted = Statistics()
    counted.record_batch(BatchTimes(1, 10, 100), rows=3, requests=2)
    counted.record_batch(BatchTimes(2, 20, 200), rows=3, requests=1)
    counted.record_batch(BatchTimes(0, 5, 0), rows=1, requests=1)
    assert (counted.inference_count, counted.execution_count) == (7, 3)
    # Per request: each of the two requests of the first batch took all of its time.
    infer = counted.requests.compute_infer
    assert (infer.count, infer.ns) == (4, 10 + 10 + 20 + 5)
    assert counted.requests.compute_input.ns == 1 + 1 + 2
    # Per batch: once each.
    assert {
        rows: (d.compute_infer.count, d.compute_infer.ns, d.compute_output.ns)
        for rows, d in counted.batches.items()
    } == {3: (2, 30, 300), 1: (1, 5, 0)}
    assert counted.last_inference_ms > 0


def test_successes_failures_and_waiting():
    counted = Statistics()
    counted.record_success(100, queue_ns=40)
    counted.record_success(50, queue_ns=0)
    counted.record_failure(7, reason="OTHER")
    assert (counted.success.count, counted.success.ns) == (2, 150)
    assert (counted.queue.count, counted.queue.ns) == (2, 40)
    assert (counted.fail.count, counted.fail.ns) == (1, 7)


def test_explanations_are_counted_with_and_without_an_answer():
    counted = Statistics()
    with counted.explaining():
        pass
    for left in (KeyError, GeneratorExit):  # it failed, or nobody waits for it any more
        with pytest.raises(left), counted.explaining():
            raise left
    assert (counted.explain_success.count, counted.explain_fail.count) == (1, 2)
    assert min(counted.explain_success.ns, counted.explain_fail.ns) > 0
    assert sum(counted.explain_seconds.counts) == 1
    assert (counted.success.count, counted.fail.count) == (0, 0)
