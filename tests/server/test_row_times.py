"""What is learned of batches, by hand."""

import pytest

from eyespot.server.row_times import RowTimes


def test_nothing_is_known_before_a_batch_has_run():
    assert RowTimes().seconds(1) is None


def test_the_slowest_of_the_last_ones_does_not_count():
    times = RowTimes()
    times.note(1, 9.0)  # a first run
    assert times.seconds(1) == 9.0
    times.note(1, 1.0)
    assert times.seconds(1) == 1.0
    times.note(1, 2.0)
    times.note(1, 3.0)
    assert times.seconds(1) == pytest.approx((1.0 + 2.0 + 3.0) / 3)


def test_the_last_eight_count():
    times = RowTimes()
    for seconds in [100.0] * 8 + [1.0] * 7:
        times.note(1, seconds)
    assert times.seconds(1) == pytest.approx(1.0)  # seven of them, and the slowest left out


def test_sizes_are_told_apart_in_steps_of_two():
    times = RowTimes()
    for rows, seconds in ((1, 1.0), (2, 1.2), (3, 1.8), (4, 8.0)):
        times.note(rows, seconds)
    assert times.seconds(1) == 1.0
    assert times.seconds(2) == pytest.approx(1.2)  # 0.6 a row, as 3 rows have it
    assert times.seconds(3) == pytest.approx(1.8)
    assert times.seconds(7) == pytest.approx(14.0)


def test_of_an_unknown_size_the_nearest_below_tells_and_else_the_one_above():
    times = RowTimes()
    times.note(4, 2.0)
    assert times.seconds(1) == pytest.approx(2.0)  # as if fewer rows won nothing
    assert times.seconds(16) == pytest.approx(8.0)  # as if more rows won nothing


def test_three_batches_are_enough_to_conclude_from():
    times = RowTimes()
    for _ in range(3):
        times.note(2, 4.0)
        assert times.seconds(2) == 4.0
    times.note(9, 9.0)
    assert times.well_known() == [(1, 2.0)]
    times.forget_above(0)
    assert times.well_known() == []
    assert times.seconds(2) is None
