"""So many requests per second for each caller: a token bucket, kept as one time for each.

The bucket of a caller is told by the moment at which it will be full again (the generic cell
rate algorithm); who has not called for a while is forgotten, as a full bucket is nobody's.
"""

import time
from collections.abc import Callable, Hashable

_REMEMBERED = 4096


class RateLimit:
    """Counts requests by caller; a second's worth of them may come at once.

    Args:
        per_second: how many each caller may send in the long run; above 0.
        clock: seconds that never run backwards.
    """

    def __init__(self, per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / per_second
        # What may come at once, beside the one that may always come first.
        self._slack = max(1.0, per_second) * self._interval - self._interval
        self._clock = clock
        self._full_again: dict[Hashable, float] = {}
        self._forget_at = _REMEMBERED

    def wait_seconds(self, identity: Hashable) -> float:
        """Counts a request that may go now, and gives 0; otherwise says how long it has to wait."""
        now = self._clock()
        full_again = max(now, self._full_again.get(identity, now))
        wait = full_again - now - self._slack
        if wait > 1e-9:  # of rounding
            return wait
        self._full_again[identity] = full_again + self._interval
        if len(self._full_again) > self._forget_at:
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        self._full_again = {who: at for who, at in self._full_again.items() if at > now}
        self._forget_at = max(_REMEMBERED, 2 * len(self._full_again))
