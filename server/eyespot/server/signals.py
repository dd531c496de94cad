"""What a signal means to the server: to drain, to end at once, or to read its settings anew."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # 128 + SIGINT, as shells count
_ENDING = (signal.SIGTERM, signal.SIGINT)
_logger = logging.getLogger(__name__)


@contextmanager
def ending_at_sigterm() -> Iterator[None]:
    """Lets SIGTERM end the process at once, with exit code 0: nothing is admitted yet."""

    def end(*_: object) -> None:
        os._exit(0)  # no log to write out: its lines are, each as it comes

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def listening_to_signals(
    *, drain: Callable[[], None], reload: Callable[[], None]
) -> Iterator[None]:
    """Takes signals on the running event loop.

    Args:
        drain: called at SIGTERM and SIGINT. A SIGINT after one of them ends the process at
            once, with exit code 130.
        reload: called at SIGHUP.
    """
    from asyncio import get_running_loop  # imported while the first models are being loaded

    loop = get_running_loop()
    is_ending = False

    def end(number: int) -> None:
        nonlocal is_ending
        if is_ending and number == signal.SIGINT:
            _logger.warning("interrupted again: what is not answered yet is cut off")
            end_at_once(INTERRUPTED)
        is_ending = True
        drain()

    for number in _ENDING:
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        for number in (*_ENDING, signal.SIGHUP):
            loop.remove_signal_handler(number)


def end_at_once(exit_code: int) -> None:
    """Ends without waiting for threads: one that computes or loads cannot be stopped otherwise."""
    logging.shutdown()
    os._exit(exit_code)
