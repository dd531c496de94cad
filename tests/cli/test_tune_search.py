"""What is tried and what is chosen, on measurements that are made up."""

import pytest

from eyespot.cli.tune_search import (
    Measurement,
    Setting,
    Space,
    best_setting,
    choose,
    frontier,
    measure_levels,
    settings_to_try,
    space_of,
)

ONE = Setting(1, 1, 8, 0)
TWO = Setting(2, 1, 8, 0)
SLOW = Setting(1, 2, 8, 0)


def measurement(setting, clients, rows_per_second, p99_ms):
    return Measurement(setting, clients, rows_per_second, p99_ms / 2, p99_ms)


def test_the_frontier_keeps_what_nothing_beats_in_both():
    quick, fast = measurement(ONE, 1, 100, 5), measurement(TWO, 8, 300, 40)
    between = measurement(TWO, 2, 180, 12)
    beaten = measurement(SLOW, 2, 170, 13)  # by `between`, in both
    as_late = measurement(SLOW, 4, 250, 40)  # as `fast`, and slower
    assert frontier([beaten, fast, as_late, quick, between]) == [quick, between, fast]


def test_the_fastest_within_the_bound_is_chosen():
    measured = [
        measurement(ONE, 1, 100, 5),
        measurement(TWO, 2, 180, 12),
        measurement(TWO, 8, 300, 40),
    ]
    assert choose(measured, 12) == measured[1]
    assert choose(measured, 11.9) == measured[0]
    assert choose(measured, 4) is None


def test_among_equals_the_one_that_answers_sooner_is_chosen_then_the_simpler():
    fastest, sooner = measurement(TWO, 8, 100, 30), measurement(ONE, 4, 97, 20)
    assert choose([fastest, sooner], 50) == sooner
    assert choose([fastest, measurement(ONE, 4, 96.9, 20)], 50) == fastest
    assert choose([measurement(TWO, 8, 100, 30), measurement(ONE, 4, 100, 30)], 50).setting == ONE


def test_without_any_in_time_the_nearest_to_the_bound_is_gone_on_from():
    assert best_setting([measurement(ONE, 8, 300, 90), measurement(TWO, 1, 50, 60)], 10) == TWO


@pytest.mark.parametrize(
    ("cores", "pairs"),
    [
        (1, ((1, 1), (2, 1))),
        (2, ((1, 1), (2, 1), (3, 1), (1, 2))),
        (4, ((1, 1), (2, 1), (4, 1), (5, 1), (1, 2), (2, 2), (1, 4))),
        (6, ((1, 1), (2, 1), (4, 1), (6, 1), (7, 1), (1, 2), (2, 2), (3, 2), (1, 4), (1, 6))),
    ],
)
def test_sessions_and_threads_that_a_machine_can_run(cores, pairs):
    assert space_of(cores, 1, 100).sessions_and_threads == pairs


def test_batches_up_to_the_largest_and_delays_below_the_bound():
    assert space_of(2, 12, 100).batch_sizes == (1, 2, 4, 8, 12)
    assert space_of(2, 12, 100).delays == (500, 2000)
    assert space_of(2, 12, 2).delays == (500,)  # 2 ms of waiting are late already
    alone = space_of(2, 0, 100)
    assert (alone.batch_sizes, alone.delays) == ((0,), ())


def test_the_walk_goes_on_from_what_was_best():
    space = Space(((1, 1), (2, 1)), (1, 4, 8), (500,))
    speeds = {(2, 8, 0): 200, (2, 4, 0): 300}  # two sessions, and then four rows
    measured = []
    tried = []
    for setting in settings_to_try(ONE, space, lambda: best_setting(measured, 100)):
        speed = speeds.get((setting.sessions, setting.max_batch_size, setting.delay_microseconds))
        measured.append(measurement(setting, 1, speed or 100, 10))
        tried.append(setting)
    assert tried == [
        ONE,
        Setting(2, 1, 8, 0),
        Setting(2, 1, 1, 0),
        Setting(2, 1, 4, 0),
        Setting(2, 1, 4, 500),
    ]
    assert len(tried) <= space.size


def test_nobody_waits_for_company_where_requests_run_alone():
    space = Space(((1, 1),), (1,), (500,))
    tried = list(settings_to_try(Setting(1, 1, 1, 0), space, lambda: Setting(1, 1, 1, 0)))
    assert tried == [Setting(1, 1, 1, 0)]


def levels(speeds, bound, p99_ms=10):
    asked = []

    def measure_at(clients):
        asked.append(clients)
        return measurement(ONE, clients, speeds[len(asked) - 1], p99_ms * clients)

    measured = measure_levels(measure_at, bound)
    assert [each.clients for each in measured] == asked
    return asked


def test_clients_double_until_they_wait_too_long():
    assert levels([100, 200, 400, 800], bound=39) == [1, 2, 4]


def test_clients_double_until_more_bring_nothing():
    # 3 % more are chance; four clients are the last that bring something.
    assert levels([100, 200, 300, 305, 302, 999], bound=10_000) == [1, 2, 4, 8, 16]
    assert levels([100, 90, 200, 190, 180, 999], bound=10_000) == [1, 2, 4, 8, 16]
