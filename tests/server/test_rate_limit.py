"""Token buckets by hand: two requests a second, and then five in two seconds."""

import pytest

from eyespot.server import rate_limit
from eyespot.server.rate_limit import RateLimit


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_seconds_worth_comes_at_once_and_the_rest_in_the_long_run():
    clock = Clock()
    limit = RateLimit(2, clock=clock)
    assert [limit.wait_seconds("a") for _ in range(3)] == [0, 0, 0.5]
    assert limit.wait_seconds("a") == 0.5  # who is refused has spent nothing
    assert limit.wait_seconds("b") == 0  # others have a bucket of their own
    clock.now += 0.25
    assert limit.wait_seconds("a") == 0.25
    clock.now += 0.25
    assert limit.wait_seconds("a") == 0
    assert limit.wait_seconds("a") == 0.5
    clock.now += 100
    assert [limit.wait_seconds("a") for _ in range(3)] == [0, 0, 0.5]


def test_less_than_one_a_second_lets_one_through():
    clock = Clock()
    limit = RateLimit(0.5, clock=clock)
    assert limit.wait_seconds("a") == 0
    assert limit.wait_seconds("a") == pytest.approx(2)
    clock.now += 2
    assert limit.wait_seconds("a") == 0


def test_who_has_not_called_for_a_while_is_forgotten(monkeypatch):
    monkeypatch.setattr(rate_limit, "_REMEMBERED", 2)
    clock = Clock()
    limit = RateLimit(1, clock=clock)
    for name in "abc":
        clock.now += 10
        limit.wait_seconds(name)
    assert set(limit._full_again) == {"c"}
