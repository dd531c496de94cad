"""Worker threads of one model: one that dies is replaced, and its work is told to have failed.

A pool of `concurrent.futures` never replaces a thread: what waits for a dead one waits for ever.
Workers step back behind the event loop where there are fewer cores than threads: a loop that does
not come to read its calls lets them grow too old to be answered, and cannot even refuse them.
"""

import asyncio
import atexit
import contextlib
import logging
import os
import queue
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from eyespot.server.errors import UnavailableError, WorkerDiedError

ResultT = TypeVar("ResultT")

_logger = logging.getLogger(__name__)


class Workers:
    """Runs what blocks, off the event loop.

    Args:
        count: Most threads at once; they are started as they are needed.
        name: Of the threads.
        niceness: How far they step back, as of `nice`; on Linux, where threads have their own.
    """

    def __init__(self, count: int, *, name: str, niceness: int = 10) -> None:
        self._count = count
        self._desk = _Desk(name, niceness)
        self._is_closed = False
        _open.add(self)
        weakref.finalize(self, self._desk.send_home, count)

    async def run(self, function: Callable[..., ResultT], *arguments: Any) -> ResultT:
        """Run a function in a thread and give back its result, or raise its error.

        Raises:
            WorkerDiedError: The thread died of it, or none could be started.
            UnavailableError: The workers were closed.
        """
        if self._is_closed:
            raise UnavailableError("the model was taken away before the request could run")
        if len(self._desk.threads) < self._count:
            self._desk.hire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()
        self._desk.jobs.put(_Job(function, arguments, loop, future))
        return await future

    def close(self) -> None:
        """Let go of the threads; what they are in the middle of is not waited for."""
        self._is_closed = True
        with contextlib.suppress(queue.Empty):
            while job := self._desk.jobs.get_nowait():
                job.future.cancel()
        self.send_home()

    def send_home(self) -> None:
        """End each thread with what it is in the middle of."""
        self._desk.send_home(self._count)


class _Job(NamedTuple):
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"

    def do(self) -> None:
        if self.future.cancelled():
            return
        try:
            result = self.function(*self.arguments)
        except Exception as error:
            self.fail(error)
        else:
            self._tell(self._answer, result)

    def fail(self, error: BaseException) -> None:
        self._tell(self._refuse, error)

    def _tell(self, how: Callable[[Any], None], what: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody waits
            self.loop.call_soon_threadsafe(how, what)

    def _answer(self, result: Any) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def _refuse(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Desk:
    """Where the threads take their work from; it knows nothing of whom they work for."""

    def __init__(self, name: str, niceness: int) -> None:
        self.name = name
        self._niceness = niceness
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.threads: set[threading.Thread] = set()

    def hire(self) -> None:
        """Start one more thread.

        Raises:
            WorkerDiedError: There is none, and none can be started.
        """
        thread = threading.Thread(target=self._work, name=self.name, daemon=True)
        self.threads.add(thread)
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more
            self.threads.discard(thread)
            if not self.threads:
                raise WorkerDiedError("no thread can be started to run the request") from error
        else:
            _threads.add(thread)

    def send_home(self, count: int) -> None:
        for _ in range(count):
            self.jobs.put(None)

    def _work(self) -> None:
        job = None
        _step_back(self._niceness)
        try:
            while (job := self.jobs.get()) is not None:
                job.do()
                job = None  # what it holds is not kept while the thread waits
        except BaseException as error:
            _logger.critical("a thread of %s died and is replaced", self.name, exc_info=error)
            self.threads.discard(threading.current_thread())
            with contextlib.suppress(WorkerDiedError):  # then the next one who asks tries again
                self.hire()
            if job is not None:
                job.fail(WorkerDiedError("the thread that ran the request died"))


def _step_back(niceness: int) -> None:
    if sys.platform == "linux":
        thread = threading.get_native_id()
        own = os.getpriority(os.PRIO_PROCESS, thread)
        with contextlib.suppress(OSError):  # it is a courtesy
            os.setpriority(os.PRIO_PROCESS, thread, own + niceness)


_open: "weakref.WeakSet[Workers]" = weakref.WeakSet()
_threads: "weakref.WeakSet[threading.Thread]" = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """A thread in the middle of native code must not outlive the interpreter."""
    for workers in list(_open):
        workers.send_home()
    for thread in list(_threads):
        thread.join()
