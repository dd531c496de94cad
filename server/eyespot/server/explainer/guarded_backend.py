"""The original that explains a model version: its faults are found and mended, as a session's."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency import TOP_CLASS, Backend, Objective, SaliencyError, Scorer, Targets
from eyespot.server.batcher import Clock
from eyespot.server.errors import RepositoryError, ResourceExhaustedError
from eyespot.server.guard import Guard
from eyespot.server.memory_fit import is_out_of_memory
from eyespot.server.workers import Workers

Array = NDArray[np.generic]
ResultT = TypeVar("ResultT")


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

    def ticket(self, computing: Scorer) -> int | None:
        """What `judge` has to know of a computation, from before it; None if it is another's."""
        return self.guard.rebuilds if computing is self.backend else None

    async def run(self, work: Callable[[Scorer], ResultT], computing: Scorer) -> ResultT:
        """Have something computed; what it fails with is what callers are told.

        Raises:
            FaultError: It was the original's fault, or the thread's: it is worth another try.
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

    async def judge(self, error: Exception, ticket: int | None) -> Exception:
        """What callers are told of an error, after what can be mended is mended."""
        if isinstance(error, SaliencyError):
            return error
        if is_out_of_memory(error):
            return ResourceExhaustedError(
                "the explanation needs more memory than there is: send fewer or smaller rows, or "
                "try again later"
            )
        return error if ticket is None else await self.guard.judge(error, rebuilds=ticket)

    def note_good(self, inputs: Array) -> None:
        """Remember rows that were explained."""
        if self._good_row is None:
            self._good_row = inputs[:1].copy()

    def _probe(self) -> None:
        if self.backend is not None and self._good_row is not None:
            self.backend.gradients(self._good_row, Objective(Targets(np.array([TOP_CLASS]))))

    def _rebuild(self) -> None:
        if self._reload is None:
            raise RepositoryError("there are none")
        self.backend = self._reload()
