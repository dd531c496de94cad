"""Ratios against their bars, by hand, and the table of them; nothing is timed."""

import pytest

from benchmarks.in_process import Pace
from benchmarks.load import Load
from benchmarks.serving.large_models import _CORES, Round
from benchmarks.serving.ratios import Bar, Ratio, table
from benchmarks.serving.stage import Measured


def test_a_ratio_is_held_against_its_bar_by_its_median():
    most = Ratio("LeNet-5: (c) / (b)", (1.4, 9.0, 1.5), Bar(1.5))
    least = Ratio("rows", (5.9, 6.1, 0.05), Bar(6.0, is_floor=True))
    assert most.holds
    assert not least.holds
    assert table([most, least]).splitlines()[2:] == [
        "| LeNet-5: (c) / (b) | 1.50 (1.40 to 9.00) | at most 1.5 |  |",
        "| rows | 5.90 (0.0500 to 6.10) | at least 6 | missed |",
    ]


def test_what_serving_costs_over_runtime_and_grpc():
    # Per image: (a) 20 ms of CPU in 10 ms, (b) 2 ms, (c) 24 ms; the clients 3 ms for each.
    bare = Measured(Load(100, 1.0, 0.01, 0.02, 0.3), 0.2)
    served = Measured(Load(100, 1.25, 0.01, 0.02, 0.3), 2.4)
    measured = Round(Pace(0.01, 0.02), bare, served)
    assert measured.cpu_against_sum() == pytest.approx(24 / 22)
    assert measured.speed() == pytest.approx(80 / 100)
    assert measured.speed_against_what_is_left() == pytest.approx(80 * (0.01 + 0.005 / _CORES))
