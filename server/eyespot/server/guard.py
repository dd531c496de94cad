"""Whose fault a failed run was, and what is done about it: of a session, or of an original.

A run that fails on one request may be that request's doing, so a probe decides: inputs that are
known to be good. Where the probe passes, the request was bad and fails alone, however often it
comes: no caller can make a model unready. Where it fails too, what ran is made anew from its
files and the request tried once more. Faults that come again open the circuit (circuit_breaker.py).
"""

import asyncio
import logging
from collections.abc import Callable

from eyespot.server.batcher import Clock
from eyespot.server.circuit_breaker import CircuitBreaker, CircuitState
from eyespot.server.errors import (
    CircuitOpenError,
    FaultError,
    RepositoryError,
    RequestError,
    UnavailableError,
    WorkerDiedError,
    new_identity,
)
from eyespot.server.workers import Workers

_logger = logging.getLogger(__name__)


class Guard:
    """Watches over what runs in the threads of one model.

    Args:
        what: It is, such as "the session of model 'net' version 1".
        probe: Runs it on inputs that are known to be good, and raises if it fails; blocks.
        rebuild: Makes it anew from its files; blocks. Raises RepositoryError.
        workers: Where both are run.
        count_fault: Told "run" or "thread", by each fault.
        on_change: Told after the circuit has opened or closed.
        clock: The running event loop unless given.

    Use it from one event loop only.
    """

    def __init__(
        self,
        what: str,
        *,
        probe: Callable[[], object],
        rebuild: Callable[[], object],
        workers: Workers,
        count_fault: Callable[[str], object],
        on_change: Callable[[], object],
        clock: Clock | None = None,
    ) -> None:
        self._what = what
        self._probe = probe
        self._rebuild = rebuild
        self._workers = workers
        self._count_fault = count_fault
        self._breaker = CircuitBreaker(self._begin_to_heal, on_change=on_change, clock=clock)
        self._judging = asyncio.Lock()
        self._healing: asyncio.Task[None] | None = None
        self.rebuilds = 0

    @property
    def state(self) -> CircuitState:
        """Whether calls pass."""
        return self._breaker.state

    @property
    def reason(self) -> str:
        """Why none passes; empty where they do."""
        return "" if self.state is CircuitState.CLOSED else f"{self._what}: {self._breaker.reason}"

    def check(self) -> None:
        """Make sure that calls pass.

        Raises:
            CircuitOpenError: They do not, and why, and when it is tried again.
        """
        if self.state is not CircuitState.CLOSED:
            wait = self._breaker.wait_seconds
            when = f"in {wait:.1f} s" if self.state is CircuitState.OPEN else "now"
            raise CircuitOpenError(
                f"{self.reason}; it is tried again by itself {when}", wait_seconds=wait
            )

    async def judge(self, error: Exception, *, rebuilds: int) -> Exception:
        """Find out whose fault a failed run was, and mend what can be mended.

        Args:
            error: What it raised.
            rebuilds: How many there had been before the run.

        Returns:
            What its callers are told: the error itself if it was theirs, or a FaultError if the
            request is worth another try, or a CircuitOpenError.
        """
        if isinstance(error, RequestError) and not isinstance(error, WorkerDiedError):
            return error
        async with self._judging:
            if self.state is not CircuitState.CLOSED:
                return self._told()
            if self.rebuilds != rebuilds:
                return self._told()  # a run beside it has had the same, and that is mended
            if isinstance(error, WorkerDiedError):
                self._note("thread", error)
                return self._told() if self.reason else error
            failure = await self._fails()
            if failure is None:
                return error
            self._note("run", failure)
            if self.state is CircuitState.CLOSED:
                await self._mend()
            return self._told()

    def close(self) -> None:
        """Mend nothing more."""
        self._breaker.stop()
        if self._healing is not None:
            self._healing.cancel()

    def _note(self, kind: str, error: Exception) -> None:
        identity = new_identity()
        _logger.error("fault %s: %s has failed", identity, self._what, exc_info=error)
        self._count_fault(kind)
        self._breaker.count_fault(f"fault {identity}")

    def _told(self) -> UnavailableError:
        try:
            self.check()
        except CircuitOpenError as error:
            return error
        return FaultError(f"{self._what} has failed and is put right: send the request again")

    async def _fails(self) -> Exception | None:
        try:
            await self._workers.run(self._probe)
        except Exception as error:
            return error
        return None

    async def _mend(self) -> None:
        """Make it anew, or open the circuit."""
        reason = await self._why_not_mended()
        if reason:
            self._breaker.open(reason)

    async def _why_not_mended(self) -> str:
        try:
            await self._workers.run(self._rebuild)
        except RepositoryError as error:
            return f"it cannot be made anew from its files: {error}"
        except Exception as error:
            return f"it cannot be made anew, as the log tells: {self._log(error)}"
        self.rebuilds += 1
        failure = await self._fails()
        if failure is not None:
            return f"it fails also when it is made anew, as the log tells: {self._log(failure)}"
        _logger.warning("%s was made anew from its files", self._what)
        return ""

    def _log(self, error: Exception) -> str:
        identity = new_identity()
        _logger.error("fault %s: %s is not well", identity, self._what, exc_info=error)
        return f"fault {identity}"

    def _begin_to_heal(self) -> None:
        self._healing = asyncio.ensure_future(self._heal())

    async def _heal(self) -> None:
        """The probe of a half-open circuit: of what there is, and if that fails, of a new one."""
        async with self._judging:
            if await self._fails() is not None:
                await self._mend()
            if self.state is CircuitState.HALF_OPEN:
                _logger.warning("%s is well again", self._what)
                self._breaker.close()
