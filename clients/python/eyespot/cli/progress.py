"""What is being done, told on stderr: a spinner on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS_BETWEEN_COUNTS = 2.0


def tell_line(text: str) -> None:
    """Tell on a line of its own."""
    print(f"eyespot: {text}", file=sys.stderr, flush=True)


@contextmanager
def showing_progress() -> Iterator[Callable[[str], None]]:
    """Give a function that tells what is being done now; print nothing meanwhile."""
    if not sys.stderr.isatty():
        yield tell_line
        return
    try:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner
    except ModuleNotFoundError as error:
        if error.name != "rich":
            raise
        yield tell_line
        return
    spinner = Spinner("dots")
    # Redirected, our standard output would end up on the terminal with the spinner.
    with Live(
        spinner, console=Console(stderr=True), transient=True,
        redirect_stdout=False, redirect_stderr=False,
    ):  # fmt: skip
        yield lambda text: spinner.update(text=f"{text} ...")


class Counter:
    """Tells from time to time how many of many things are done.

    Args:
        tell: Takes a text.
        total: How many there are.
        what: Their name, in the plural.
        clock: Seconds that never run backwards.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        total: int,
        what: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._total = total
        self._what = what
        self._clock = clock
        self._told = clock()
        self._done = 0

    def add(self, number: int) -> None:
        """Count what has been done, and tell if the last time was long ago."""
        self._done += number
        now = self._clock()
        if now - self._told >= _SECONDS_BETWEEN_COUNTS:
            self._told = now
            self._tell(f"{self._done} of {self._total} {self._what}")


class Share:
    """Tells from time to time which share of one thing is done; on a terminal more often.

    Args:
        tell: Takes a text.
        what: Its name.
        clock: Seconds that never run backwards.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        what: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._what = what
        self._clock = clock
        self._pause = 0.1 if sys.stderr.isatty() else _SECONDS_BETWEEN_COUNTS
        self._next = clock() + self._pause

    def reach(self, share: float) -> None:
        """Note how far it has come, and tell if the last time was long ago."""
        now = self._clock()
        if now >= self._next:
            self._next = now + self._pause
            self._tell(f"{self._what}: {share:.0%}")
