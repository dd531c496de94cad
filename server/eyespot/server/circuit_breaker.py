"""A circuit breaker: after repeated faults, nothing is tried for a while, and then once.

Closed, everything passes. Several faults within a while open it: nothing passes. Once its delay
is over it is half open: one probe decides whether it closes, or opens again for twice as long.
The clock is injected and wakes it up; nothing polls, and no traffic is needed to heal.
"""

import asyncio
import enum
from collections import deque
from collections.abc import Callable

from eyespot.server.batcher import Clock, TimerHandle

_MOST_FAULTS = 3
_WINDOW_SECONDS = 60.0
_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 1.0, 60.0


class CircuitState(enum.Enum):
    """Whether calls pass."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class CircuitBreaker:
    """Counts faults, and says when it is time to stop and to try again.

    Args:
        probe: Begins to find out whether all is well again; `close` or `open` tells what was
            found.
        on_change: Told after it has opened or closed.
        clock: The running event loop unless given.

    Use it from one event loop only.
    """

    def __init__(
        self,
        probe: Callable[[], object],
        *,
        on_change: Callable[[], object],
        clock: Clock | None = None,
    ) -> None:
        self._probe = probe
        self._on_change = on_change
        self._clock = clock
        self._faults: deque[float] = deque(maxlen=_MOST_FAULTS)
        self._delay = 0.0
        self._end = 0.0  # of the delay, on the clock
        self._timer: TimerHandle | None = None
        self.state = CircuitState.CLOSED
        self.reason = ""

    @property
    def wait_seconds(self) -> float:
        """When it is worth while to ask again: after the next probe; 0 while it is closed."""
        match self.state:
            case CircuitState.OPEN:
                return max(0.0, self._end - self._now())
            case CircuitState.HALF_OPEN:  # how long a probe takes, nobody knows
                return _FIRST_DELAY_SECONDS
            case CircuitState.CLOSED:
                return 0.0

    def count_fault(self, reason: str) -> None:
        """Count a fault, and open if it is one too many."""
        now = self._now()
        self._faults.append(now)
        if len(self._faults) == _MOST_FAULTS and now - self._faults[0] <= _WINDOW_SECONDS:
            self.open(f"{_MOST_FAULTS} faults within {_WINDOW_SECONDS:.0f} s, the last: {reason}")

    def open(self, reason: str) -> None:
        """Let nothing pass until a probe finds that all is well."""
        if self.state is CircuitState.OPEN:
            return
        now = self._now()
        # What has been well for long starts anew; what opens again at once waits longer.
        is_relapse = self._delay > 0 and now - self._end <= _LONGEST_DELAY_SECONDS
        self._delay = (
            min(2 * self._delay, _LONGEST_DELAY_SECONDS) if is_relapse else _FIRST_DELAY_SECONDS
        )
        self._end = now + self._delay
        self.state, self.reason = CircuitState.OPEN, reason
        assert self._clock is not None  # set by `_now`
        self._timer = self._clock.call_later(self._delay, self._half_open)
        self._on_change()

    def close(self) -> None:
        """Let everything pass again."""
        self._faults.clear()
        self._end = self._now()
        self.state, self.reason = CircuitState.CLOSED, ""
        self._on_change()

    def stop(self) -> None:
        """Probe no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _half_open(self) -> None:
        self._timer = None
        self.state = CircuitState.HALF_OPEN
        self._probe()

    def _now(self) -> float:
        if self._clock is None:
            self._clock = asyncio.get_running_loop()
        return self._clock.time()
