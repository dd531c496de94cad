"""The threads in which models are loaded: a process that ends does not wait for them.

Importing PyTorch or reading a graph takes seconds, and nothing can interrupt either. Python joins
its threads when it ends, so a process that is told to end meanwhile has to leave without that.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

ResultT = TypeVar("ResultT")

_busy: set[int] = set()  # threads, by their identity


class LoadingThreads:
    """Runs what loads models, as many at once as there are cores."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(
            max(1, len(os.sched_getaffinity(0))), thread_name_prefix="load"
        )

    def submit(self, function: Callable[[], ResultT]) -> Future[ResultT]:
        """Begin to run a function."""

        def noted() -> ResultT:
            _busy.add(threading.get_ident())
            try:
                return function()
            finally:
                _busy.discard(threading.get_ident())

        return self._executor.submit(noted)

    async def run(self, function: Callable[[], ResultT]) -> ResultT:
        """Give back what a function returns, or raise its error."""
        from asyncio import wrap_future  # imported while the first models are being loaded

        return await wrap_future(self.submit(function))

    def close(self) -> None:
        """Let go of the threads; what they are in the middle of is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def is_any_busy() -> bool:
    """Whether any thread of this process is in the middle of loading something."""
    return bool(_busy)
