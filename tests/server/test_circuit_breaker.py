"""The circuit breaker: when it opens, for how long, and how it closes."""

import pytest
from tests.server.batching import FakeClock

from eyespot.server.circuit_breaker import CircuitBreaker, CircuitState


class Watched:
    """A breaker whose probes are counted."""

    def __init__(self):
        self.clock = FakeClock()
        self.probes = 0
        self.states = []
        self.breaker = CircuitBreaker(
            self._probe,
            on_change=lambda: self.states.append(self.breaker.state.value),
            clock=self.clock,
        )

    def _probe(self):
        self.probes += 1

    def fail_probe(self):
        """Wait for the probe and tell that it has failed; gives the delay before it."""
        delay = self.breaker.wait_seconds
        self.clock.advance(delay)
        assert self.breaker.state is CircuitState.HALF_OPEN
        self.breaker.open("still")
        return delay


@pytest.fixture
def watched():
    return Watched()


def test_it_opens_with_the_third_fault_within_a_minute(watched):
    breaker, clock = watched.breaker, watched.clock
    breaker.count_fault("a")
    clock.advance(40)
    breaker.count_fault("b")
    clock.advance(40)
    breaker.count_fault("c")  # the first was 80 s ago
    assert breaker.state is CircuitState.CLOSED
    clock.advance(10)
    breaker.count_fault("d")
    assert breaker.state is CircuitState.OPEN
    assert breaker.reason == "3 faults within 60 s, the last: d"
    assert watched.states == ["open"]


def test_one_probe_after_the_delay_and_none_before(watched):
    watched.breaker.open("broken")
    assert watched.breaker.wait_seconds == 1
    watched.clock.advance(0.9)
    assert (watched.probes, watched.breaker.state) == (0, CircuitState.OPEN)
    watched.clock.advance(0.1)
    assert (watched.probes, watched.breaker.state) == (1, CircuitState.HALF_OPEN)
    assert watched.breaker.wait_seconds == 1  # so that who asks meanwhile does not ask at once
    watched.clock.advance(1000)
    assert watched.probes == 1  # nothing polls: whoever probes tells what was found
    watched.breaker.close()
    assert (watched.breaker.state, watched.breaker.reason) == (CircuitState.CLOSED, "")
    assert watched.breaker.wait_seconds == 0
    assert watched.states == ["open", "closed"]


def test_each_delay_is_twice_the_last_up_to_a_minute(watched):
    watched.breaker.open("broken")
    delays = [watched.fail_probe() for _ in range(8)]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(("well_for", "delay"), [(30, 4), (61, 1)])
def test_who_relapses_soon_waits_longer(watched, well_for, delay):
    watched.breaker.open("broken")
    watched.fail_probe()
    watched.clock.advance(2)
    watched.breaker.close()
    watched.clock.advance(well_for)
    watched.breaker.open("again")
    assert watched.breaker.wait_seconds == delay


def test_faults_before_it_healed_count_no_more(watched):
    for _ in range(3):
        watched.breaker.count_fault("x")
    watched.clock.advance(1)
    watched.breaker.close()
    watched.breaker.count_fault("y")
    assert watched.breaker.state is CircuitState.CLOSED


def test_stopped_it_probes_no_more(watched):
    watched.breaker.open("broken")
    watched.breaker.stop()
    watched.clock.advance(60)
    assert watched.probes == 0
