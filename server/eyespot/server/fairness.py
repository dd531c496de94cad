"""Whose turn it is where several callers wait: start-time fair queueing.

Goyal, Vin and Cheng, 1997, "Start-time fair queueing: a scheduling algorithm for integrated
services packet switching networks", with equal weights, and rows for bytes. Each request gets a
turn when it arrives: that of the request which began last, or where its caller's former ones end,
whichever is later. Requests begin in the order of their turns. So a caller that sends one row now
and then waits for one row of each other caller, however many of theirs are in the queue; and one
that is alone is served in order of arrival. Departure from the paper: when nobody waits, time
does not jump to the end of what was served, which orders nobody differently.
"""

# Who is not ahead of time is as one who never called: beyond so many, they are forgotten.
_REMEMBERED = 1024


class Turns:
    """Virtual time, in rows, and how far each caller is ahead of it."""

    def __init__(self) -> None:
        self._now = 0
        self._ends: dict[str, int] = {}

    def next(self, caller: str, rows: int) -> int:
        """The turn of a request that arrives."""
        turn = max(self._now, self._ends.get(caller, 0))
        self._ends[caller] = turn + rows
        return turn

    def lead(self, caller: str) -> int:
        """How many rows a caller is ahead of time."""
        return max(0, self._ends.get(caller, 0) - self._now)

    def begin(self, turn: int) -> None:
        """Notes that a request begins."""
        self._now = max(self._now, turn)
        if len(self._ends) > _REMEMBERED:
            self._ends = {who: end for who, end in self._ends.items() if end > self._now}
