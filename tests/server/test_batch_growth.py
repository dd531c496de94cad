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
    # One row four times, of which the first does not count; then up to three, which win nothing.
    assert sizes == [1] * 4 + [3] * 4 + [1] * 12


def test_where_rows_run_at_once_batches_grow_to_the_largest():
    sizes = run(BatchGrowth(20), all_rows_at_once, 20)
    assert sizes == [1] * 4 + [3] * 4 + [7] * 4 + [15] * 4 + [20] * 4


def test_batches_grow_as_long_as_a_row_takes_a_tenth_less():
    # Per row 10, 6, 5 and 4.8 ms: the last step wins 4 %.
    per_row = {1: 0.010, 3: 0.006, 7: 0.005, 15: 0.0048}
    sizes = run(BatchGrowth(15), lambda rows: per_row[rows] * rows, 20)
    assert sizes == [1] * 4 + [3] * 4 + [7] * 4 + [15] * 4 + [7] * 4


def test_a_first_run_of_a_size_does_not_count():
    """Two and three rows are one step, and a GPU chooses anew for each what computes it."""
    growth = BatchGrowth(3)
    run(growth, all_rows_at_once, 4)
    for rows in (2, 3):
        growth.note(None, rows, 9.0)
    for rows in (2, 3, 3):
        growth.note(None, rows, all_rows_at_once(rows))
    assert growth.most_rows(None) == 3


def test_the_first_runs_of_a_size_side_by_side_do_not_count():
    growth = BatchGrowth(3, instances=2)
    run(growth, all_rows_at_once, 5)
    for seconds in (9.0, 9.0, *[all_rows_at_once(3)] * 3):
        growth.note(None, 3, seconds)
    assert growth.most_rows(None) == 3


def test_a_run_that_was_interrupted_does_not_count():
    growth = BatchGrowth(3)
    run(growth, all_rows_at_once, 5)
    growth.note(None, 3, 9.0)
    assert run(growth, all_rows_at_once, 4) == [3] * 4


def test_requests_that_are_never_small_are_joined_too():
    growth = BatchGrowth(32)
    for _ in range(4):
        growth.note(None, 4, all_rows_at_once(4))
    assert growth.most_rows(None) == 15
    for _ in range(4):
        growth.note(None, 12, all_rows_at_once(12))
    assert growth.most_rows(None) == 31


def test_a_size_far_above_tells_whether_growing_wins():
    slow, fast = BatchGrowth(32), BatchGrowth(32)
    for growth, seconds_of in ((slow, rows_one_after_another), (fast, all_rows_at_once)):
        for rows in (1, 16):
            for _ in range(4):
                growth.note(None, rows, seconds_of(rows))
    assert slow.most_rows(None) == 1
    assert fast.most_rows(None) == 32


def test_each_key_has_its_own_times():
    growth = BatchGrowth(8)
    run(growth, rows_one_after_another, 8, key="large")
    run(growth, all_rows_at_once, 12, key="small")
    assert (growth.most_rows("large"), growth.most_rows("small")) == (1, 8)


def test_what_won_nothing_is_tried_anew_after_a_while(monkeypatch):
    monkeypatch.setattr(batch_growth, "_TRIED_ANEW_AFTER", 10)
    growth = BatchGrowth(8)
    assert run(growth, rows_one_after_another, 10) == [1] * 4 + [3] * 4 + [1] * 2
    # Another model has gone from the device: now rows run at once.
    assert run(growth, all_rows_at_once, 11)[:3] == [3] * 3
    assert growth.most_rows(None) == 8
