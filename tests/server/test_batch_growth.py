"""How far batches grow, on devices of which the times are made up; no time passes."""

from eyespot.server import batch_growth
from eyespot.server.batch_growth import BatchGrowth


def run(growth, seconds_of, batches, *, key=None):
    """Runs batches as large as they may be, and gives their sizes."""
    sizes = []
    for _ in range(batches):
        rows = growth.most_rows(key)
        growth.note(key, rows, seconds_of(rows))
        sizes.append(rows)
    return sizes


def rows_one_after_another(rows):
    return 0.010 * rows


def all_rows_at_once(rows):
    return 0.010 + 0.0001 * rows


def test_where_rows_run_one_after_another_batches_stay_small():
    sizes = run(BatchGrowth(8), rows_one_after_another, 20)
    # One row thrice; then up to three, which win nothing; then one again.
    assert sizes == [1] * 3 + [3] * 3 + [1] * 14


def test_where_rows_run_at_once_batches_grow_to_the_largest():
    sizes = run(BatchGrowth(20), all_rows_at_once, 20)
    assert sizes == [1] * 3 + [3] * 3 + [7] * 3 + [15] * 3 + [20] * 8


def test_batches_grow_as_long_as_a_row_takes_a_tenth_less():
    # Per row 10, 6, 5 and 4.8 ms: the last step wins 4 %.
    per_row = {1: 0.010, 3: 0.006, 7: 0.005, 15: 0.0048}
    sizes = run(BatchGrowth(15), lambda rows: per_row[rows] * rows, 20)
    assert sizes == [1] * 3 + [3] * 3 + [7] * 3 + [15] * 3 + [7] * 8


def test_a_slow_first_run_does_not_count():
    growth = BatchGrowth(3)
    growth.note(None, 1, 9.0)
    run(growth, all_rows_at_once, 2)
    growth.note(None, 3, 9.0)
    assert run(growth, all_rows_at_once, 4) == [3] * 4


def test_requests_that_are_never_small_are_joined_too():
    growth = BatchGrowth(32)
    for _ in range(3):
        growth.note(None, 4, all_rows_at_once(4))
    assert growth.most_rows(None) == 15
    for _ in range(3):
        growth.note(None, 12, all_rows_at_once(12))
    assert growth.most_rows(None) == 31


def test_a_size_far_above_tells_whether_growing_wins():
    slow, fast = BatchGrowth(32), BatchGrowth(32)
    for growth, seconds_of in ((slow, rows_one_after_another), (fast, all_rows_at_once)):
        for rows in (1, 16):
            for _ in range(3):
                growth.note(None, rows, seconds_of(rows))
    assert slow.most_rows(None) == 1
    assert fast.most_rows(None) == 32


def test_each_key_has_its_own_times():
    growth = BatchGrowth(8)
    run(growth, rows_one_after_another, 6, key="large")
    run(growth, all_rows_at_once, 9, key="small")
    assert (growth.most_rows("large"), growth.most_rows("small")) == (1, 8)


def test_what_won_nothing_is_tried_anew_after_a_while(monkeypatch):
    monkeypatch.setattr(batch_growth, "_TRIED_ANEW_AFTER", 10)
    growth = BatchGrowth(8)
    assert run(growth, rows_one_after_another, 10) == [1] * 3 + [3] * 3 + [1] * 4
    # Another model has gone from the device: now rows run at once.
    assert run(growth, all_rows_at_once, 10)[:3] == [3] * 3
    assert growth.most_rows(None) == 8
