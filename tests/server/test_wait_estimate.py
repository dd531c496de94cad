"""How long an answer is expected to take, by hand."""

import pytest

from eyespot.server.wait_estimate import WaitEstimate


def test_before_a_batch_has_run_nothing_is_known():
    estimate = WaitEstimate(1)
    assert estimate.of_answer(None, 1, rows_ahead=100, batch_rows=4) is None
    assert estimate.of_queue(100, batch_rows=4) is None


@pytest.mark.parametrize(("instances", "expected"), [(1, 2.5 * 4.0 + 4.0), (2, 2.5 * 2.0 + 4.0)])
def test_half_a_batch_then_those_ahead_then_its_own_and_a_quarter_more(instances, expected):
    estimate = WaitEstimate(instances)
    estimate.note(None, 4, 4.0)
    # Nine rows ahead: two batches of four, and in the third one is before it.
    wait = estimate.of_answer(None, 1, rows_ahead=9, batch_rows=4)
    assert wait == pytest.approx(1.25 * expected)


def test_a_request_that_is_alone_takes_its_own_time():
    estimate = WaitEstimate(1)
    estimate.note(None, 1, 1.0)
    estimate.note(None, 4, 2.0)
    # Half of a batch that runs, of four rows; its own is of one.
    assert estimate.of_answer(None, 1, rows_ahead=0, batch_rows=4) == pytest.approx(1.25 * 2.0)


def test_a_shape_that_has_not_run_is_not_known_by_others():
    estimate = WaitEstimate(1)
    estimate.note("small", 1, 1.0)
    estimate.note("large", 1, 9.0)
    assert estimate.of_batch("small", 1) == pytest.approx(1.25)
    assert estimate.of_answer("larger", 1, rows_ahead=0, batch_rows=1) is None
    # Ahead of it may be any: their mean, of which the slowest is left out.
    assert estimate.of_answer("large", 1, rows_ahead=0, batch_rows=1) == pytest.approx(
        1.25 * (0.5 * 1.0 + 9.0)
    )


def test_the_whole_queue_takes_its_batches():
    estimate = WaitEstimate(2)
    estimate.note(None, 4, 3.0)
    assert estimate.of_queue(40, batch_rows=4) == pytest.approx(10 * 3.0 / 2)


def test_caution_grows_with_answers_that_come_late_and_shrinks_with_the_others():
    estimate = WaitEstimate(1)
    estimate.note(None, 1, 1.0)
    estimate.note_answer(is_late=True)
    assert estimate.of_batch(None, 1) == pytest.approx(1.25 * 1.05)
    for _ in range(100):
        estimate.note_answer(is_late=False)
    assert estimate.of_batch(None, 1) == pytest.approx(1.25 * 1.05 * 0.9995**100)


def test_caution_has_bounds():
    estimate = WaitEstimate(1)
    estimate.note(None, 1, 1.0)
    for _ in range(1000):
        estimate.note_answer(is_late=True)
    assert estimate.of_batch(None, 1) == pytest.approx(8.0)
    for _ in range(10_000):
        estimate.note_answer(is_late=False)
    assert estimate.of_batch(None, 1) == pytest.approx(1.1)
