"""What explains a model version: its faults are found and mended, as a session's.

Gradients come from the original, which has a guard of its own. Methods without gradients ask the
session that is served: what it fails with is told to the guard that watches over it for inference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency import TOP_CLASS, Backend, Objective, SaliencyError, Scorer, Targets
from eyespot.server.batcher import Clock
from eyespot.server.errors import RepositoryError, ResourceExhaustedError, WorkerDiedError
from eyespot.server.guard import Guard
from eyespot.server.memory_fit import is_out_of_memory
from eyespot.server.workers import Workers

Array = NDArray[np.generic]
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Ticket:
    """What has to be known of a computation, from before it, to judge what it fails with."""

    guard: Guard
    rebuilds: int


class GuardedBackend:
    """Has a thread compute, and sees to what fails.

    Args:
        backend: The original; None where there is none.
        what: It is, for the log and for callers.
        good_row: (1, ...), which it is known to take; unless given, the first that it took.
        reload: Loads it anew from its files; blocks. None where that cannot be.
        workers: Where it computes.
        count_fault: Told "run" or "thread", by each fault.
        clock: The running event loop unless given.
    """

    def __init__(
        self,
        backend: Backend | None,
        *,
        what: str,
        good_row: Array | None,
        reload: Callable[[], Backend] | None,
        workers: Workers,
        count_fault: Callable[[str], object],
        clock: Clock | None,
    ) -> None:
        self.backend = backend
        self.session_guard: Guard | None = None  # over the session that is served
        self._good_row = good_row
        self._reload = reload
        self._workers = workers
        self.guard = Guard(
            what,
            probe=self._probe,
            rebuild=self._rebuild,
            workers=workers,
            count_fault=count_fault,
            on_change=lambda: None,  # the model is as ready as it was
            clock=clock,
        )

    def check(self, computing: Scorer) -> None:
        """Make sure that it may be asked.

        Raises:
            CircuitOpenError: It may not now, and why, and when it is tried again.
        """
        if (guard := self._guard_of(computing)) is not None:
            guard.check()

    def reason_against(self, computing: Scorer) -> str:
        """Why it may not be asked now; empty while it may."""
        guard = self._guard_of(computing)
        return "" if guard is None else guard.reason

    def ticket(self, computing: Scorer) -> Ticket | None:
        """What `judge` wants; None where nothing watches over what computes."""
        guard = self._guard_of(computing)
        return None if guard is None else Ticket(guard, guard.rebuilds)

    async def run(self, work: Callable[[Scorer], ResultT], computing: Scorer) -> ResultT:
        """Have something computed; what it fails with is what callers are told.

        Raises:
            FaultError: It was the fault of what computes, or the thread's: it is worth another try.
            CircuitOpenError: That came again and again.
            ResourceExhaustedError: Memory did not suffice.
        """
        ticket = self.ticket(computing)
        try:
            return await self._workers.run(work, computing)
        except Exception as error:
            told = await self.judge(error, ticket)
            if told is error:
                raise
            raise told from error

    async def judge(self, error: Exception, ticket: Ticket | None) -> Exception:
        """What callers are told of an error, after what can be mended is mended."""
        if isinstance(error, SaliencyError):
            return error
        if is_out_of_memory(error):
            return ResourceExhaustedError(
                "the explanation needs more memory than there is: send fewer or smaller rows, or "
                "try again later"
            )
        # The thread is the explainer's own: its death says nothing of the session.
        is_of_thread = isinstance(error, WorkerDiedError)
        if ticket is None or (is_of_thread and ticket.guard is self.session_guard):
            return error
        return await ticket.guard.judge(error, rebuilds=ticket.rebuilds)

    def note_good(self, inputs: Array) -> None:
        """Remember rows that were explained."""
        if self._good_row is None:
            self._good_row = inputs[:1].copy()

    def _guard_of(self, computing: Scorer) -> Guard | None:
        return self.guard if computing is self.backend else self.session_guard

    def _probe(self) -> None:
        if self.backend is not None and self._good_row is not None:
            self.backend.gradients(self._good_row, Objective(Targets(np.array([TOP_CLASS]))))

    def _rebuild(self) -> None:
        if self._reload is None:
            raise RepositoryError("there are none")
        self.backend = self._reload()
