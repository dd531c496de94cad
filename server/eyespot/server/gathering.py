"""How many requests the next batch of a small model waits for: as many as were found to come.

A batch of few rows costs such a model nearly as much as one of many, and while it runs on the
event loop no other request can be read. So a batch waits for company where there is some: until as
many requests are there as came the last time that one waited its window out, or that window ends.
Now and then one waits it out to find how many come; where nobody does, each time twice as many
batches later, so that who calls alone waits once in a thousand calls.
"""

WINDOW_SECONDS = 0.002
# How many batches after one that waited its window out the next one does: beside company, without
# it at most, and after it was missed for the first time.
_BESIDE_COMPANY, _ALONE, _AFTER_COMPANY = 16, 1024, 2


class Gathering:
    """Learns how many requests come within a window.

    Attributes:
        expected: so many requests begin a batch; 1 where it is not to wait.
    """

    def __init__(self) -> None:
        self.expected = 1
        self._interval = self._until_probe = _BESIDE_COMPANY

    def is_enough(self, requests: int) -> bool:
        """Whether a batch may begin of so many, before its window ends."""
        return requests >= self.expected and self._until_probe > 0

    def note(self, requests: int, *, has_waited: bool) -> None:
        """Counts a batch that begins.

        Args:
            requests: those that are in it.
            has_waited: whether its window was over.
        """
        tells_all = has_waited or self._until_probe <= 0  # one that was full before its end
        self._until_probe -= 1
        if tells_all:
            if requests > 1:
                self._interval = _BESIDE_COMPANY
            elif self.expected > 1:
                self._interval = _AFTER_COMPANY
            else:
                self._interval = min(2 * self._interval, _ALONE)
            self._until_probe = self._interval
        if tells_all or requests > self.expected:
            self.expected = requests
