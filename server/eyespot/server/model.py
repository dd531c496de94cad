"""One served model version: its session behind its batcher, and its explainer if it has one.

`Model` is made from what version_loading.py has loaded, on the event loop, and lives there.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.server.batch import concatenate, split
from eyespot.server.batch_growth import BatchGrowth
from eyespot.server.batcher import Batcher, Clock, Outcome
from eyespot.server.callers import current_caller
from eyespot.server.circuit_breaker import CircuitState
from eyespot.server.config import ServerConfig
from eyespot.server.errors import (
    DeadlineExceededError,
    FaultError,
    ModelUnavailableError,
    RequestError,
    ResourceExhaustedError,
    UnavailableError,
)
from eyespot.server.gathering import Gathering
from eyespot.server.held_rows import HeldRows, filler
from eyespot.server.loaded_version import LoadedVersion
from eyespot.server.model_config import DynamicBatching
from eyespot.server.statistics import BatchTimes, Statistics
from eyespot.server.wait_estimate import WaitEstimate
from eyespot.server.waiting_bytes import WaitingBytes, bytes_of
from eyespot.server.watched_session import WatchedSession
from eyespot.server.workers import Workers
from eyespot.v1.manifest import Derivation, Manifest

if TYPE_CHECKING:
    from eyespot.server.explainer import Explainer

Array = NDArray[np.generic]


class InferCall(NamedTuple):
    """One request for inference that was found to fit the model.

    `key` tells apart requests that cannot share a batch; `deadline` is in seconds on the
    event loop's clock. `priority` is 0 for the default, `timeout` how many seconds it would
    wait.
    """

    inputs: Mapping[str, Array]
    rows: int
    key: Hashable = None
    deadline: float | None = None
    priority: int = 0
    timeout: float | None = None


class Model:
    """A loaded version that answers calls; use it from one event loop.

    Args:
        loaded: the version.
        settings: of the server.
        waiting_bytes: counts what waits for all models together; for this one unless given.
        on_change: told after it has become ready, or ready no more.
        clock: the running event loop unless given.
    """

    def __init__(
        self,
        loaded: LoadedVersion,
        settings: ServerConfig,
        *,
        waiting_bytes: WaitingBytes | None = None,
        on_change: "Callable[[Model], object]" = lambda model: None,
        clock: Clock | None = None,
    ) -> None:
        self.name = loaded.config.name
        self.version = loaded.folder.model_version
        self.config = loaded.config
        self.labels = loaded.labels
        self.derivation, self.lossy_derivation = _derivations(loaded.manifest)
        self.statistics = Statistics()
        self._explainer: Explainer | None = None
        self._no_explainer: RequestError = ModelUnavailableError(
            f"what explains model {self.name!r} version {self.version} is being loaded"
        )
        self.is_complete = False  # whether it is known what explains it
        self._is_closed = False
        self._runs_on_event_loop = loaded.runs_on_event_loop
        instances = loaded.config.instance_count or settings.concurrent_batches
        if self._runs_on_event_loop:
            instances = 1
        self._workers = Workers(instances, name=f"session-{self.name}")
        self._session = WatchedSession(
            loaded,
            workers=self._workers,
            count_fault=self.statistics.record_fault,
            on_change=lambda: on_change(self),
            clock=clock,
        )
        self._guard = self._session.guard
        batching = loaded.config.dynamic_batching or DynamicBatching()
        joins = loaded.config.dynamic_batching is not None
        self._waiting_bytes = waiting_bytes or WaitingBytes(settings.max_waiting_bytes)
        self._growth = self._batch_growth(batching, instances) if joins else None
        is_held = joins and loaded.session.plans_by_size
        self._held_rows = HeldRows(loaded.config.max_batch_size) if is_held else None
        self._batcher: Batcher[InferCall, dict[str, Array]] = Batcher(
            self._execute,
            execute_now=self._execute_now if self._runs_on_event_loop else None,
            judge=self._judge,
            max_batch_size=loaded.config.max_batch_size if joins else 0,
            max_queue_delay_microseconds=batching.max_queue_delay_microseconds,
            preferred_batch_size=batching.preferred_batch_size,
            max_queue_size=batching.max_queue_size or settings.max_queue_size,
            default_policy=batching.default_policy,
            policies=batching.policies,
            priority_levels=batching.priority_levels,
            default_priority_level=batching.default_priority_level,
            preserve_ordering=batching.preserve_ordering,
            gathering=Gathering() if self._runs_on_event_loop else None,
            instances=instances,
            growth=self._growth,
            estimate=WaitEstimate(instances),
            clock=clock,
        )

    async def infer(self, call: InferCall) -> Outcome[dict[str, Array]]:
        """Answers one request with every output of the model by name, and what it took."""
        start = time.perf_counter_ns()
        caller = current_caller().identity
        try:
            self._guard.check()
            with self._waiting_bytes.holding(bytes_of(call.inputs.values()), caller):
                outcome = await self._batcher.submit(
                    call,
                    rows=call.rows,
                    key=call.key,
                    deadline=call.deadline,
                    priority=call.priority,
                    timeout=call.timeout,
                    caller=caller,
                )
        except BaseException as error:
            elapsed = time.perf_counter_ns() - start
            self.statistics.record_failure(elapsed, reason=_failure_reason(error))
            raise
        self.statistics.record_success(time.perf_counter_ns() - start, queue_ns=outcome.queue_ns)
        return outcome

    @contextmanager
    def explaining(self, inputs: Array) -> Iterator[None]:
        """Counts a call for attributions, which is answered within the block or not at all.

        Raises:
            WaitingBytesError: its bytes find no room.
        """
        holding = self._waiting_bytes.holding(bytes_of([inputs]), current_caller().identity)
        with self.statistics.explaining(), holding:
            yield

    @property
    def queue_size(self) -> int:
        """How many requests wait now."""
        return self._batcher.queue_size

    @property
    def circuit(self) -> CircuitState:
        """Closed while it answers; otherwise it is not ready, and `unready_reason` says why."""
        return self._guard.state

    @property
    def unready_reason(self) -> str:
        """Why its session is not asked anything now; empty while it is."""
        return self._guard.reason

    @property
    def explain_faults(self) -> int:
        """How often what explains has failed, or its thread died."""
        return 0 if self._explainer is None else self._explainer.faults.total()

    @property
    def rebuilds(self) -> int:
        """How often its session was made anew."""
        return self._guard.rebuilds

    @property
    def is_explained(self) -> bool:
        """Whether calls for attributions are answered."""
        return self._explainer is not None

    @property
    def explainer(self) -> "Explainer":
        """What answers calls for attributions.

        Raises:
            NotExplainableError: explaining is off, or its inputs and outputs do not allow it.
            ModelUnavailableError: it is still being loaded.
        """
        if self._explainer is None:
            # A new one each time: an exception that is raised again grows its trace.
            raise type(self._no_explainer)(str(self._no_explainer))
        return self._explainer

    def take_explainer(self, explainer: "Explainer | RequestError") -> None:
        """Takes up what answers calls for attributions, or why nothing does."""
        self.is_complete = True
        if isinstance(explainer, RequestError):
            self._no_explainer = explainer
        elif self._is_closed:
            explainer.close()
        else:
            explainer.watch_session(self._guard)
            self._explainer = explainer

    async def drain(self) -> None:
        """Admits nothing more and waits until everything admitted is answered."""
        waits = [self._batcher.drain()]
        if self._explainer is not None:
            waits.append(self._explainer.drain())
        await asyncio.gather(*waits)

    def close(self) -> None:
        """Lets go of the threads; what they are in the middle of is not waited for."""
        self._is_closed = True
        self._guard.close()
        self._workers.close()
        if self._explainer is not None:
            self._explainer.close()

    def _batch_growth(self, batching: DynamicBatching, instances: int) -> BatchGrowth | None:
        """None where batches delay nobody, or where config.pbtxt says how requests join."""
        is_told = batching.preferred_batch_size or batching.max_queue_delay_microseconds
        if self._runs_on_event_loop or is_told:
            return None
        return BatchGrowth(self.config.max_batch_size, instances=instances)

    async def _execute(self, batch: Sequence[InferCall]) -> Sequence[dict[str, Array]]:
        rebuilds = self._guard.rebuilds
        try:
            if self._runs_on_event_loop:
                return self._execute_now(batch)
            self._guard.check()  # what waited while the circuit opened
            return self._note(batch, await self._workers.run(self._run, batch, self._unused(batch)))
        except Exception as error:
            told = await self._guard.judge(error, rebuilds=rebuilds)
            if told is error:
                raise
            raise told from error

    def _execute_now(self, batch: Sequence[InferCall]) -> Sequence[dict[str, Array]]:
        self._guard.check()
        return self._note(batch, self._run(batch, self._unused(batch)))

    def _unused(self, batch: Sequence[InferCall]) -> int:
        """How many rows a batch is to be filled up with."""
        if self._held_rows is None:
            return 0
        rows = sum(call.rows for call in batch)
        return self._held_rows.rows_for(batch[0].key, rows) - rows

    async def _judge(self, error: Exception) -> Exception:
        """What callers are told of an error of a batch that has just run on the event loop."""
        return await self._guard.judge(error, rebuilds=self._guard.rebuilds)

    def _note(self, batch: Sequence[InferCall], ran: "_Ran") -> list[dict[str, Array]]:
        rows = sum(call.rows for call in batch)
        if self._growth is not None:
            self._growth.note(batch[0].key, rows, ran.busy_seconds)
        self.statistics.record_batch(ran.times, rows=rows, requests=len(batch))
        return ran.results

    def _run(self, batch: Sequence[InferCall], unused: int) -> "_Ran":
        start = time.perf_counter_ns()
        requests = [call.inputs for call in batch]
        rows = [call.rows for call in batch]
        if unused:
            requests.append(filler(requests[-1], unused))
            rows.append(unused)
        inputs = concatenate(requests)
        # To ask for the processor time of a thread costs as much as small models take.
        busy_seconds = None if self._growth is None else self._session.busy_seconds
        begin, busy = time.perf_counter_ns(), busy_seconds() if busy_seconds else 0.0
        outputs = self._session.run(inputs)
        end, busy = time.perf_counter_ns(), busy_seconds() - busy if busy_seconds else 0.0
        results = split(outputs, rows)[: len(batch)] if self.config.max_batch_size else [outputs]
        times = BatchTimes(begin - start, end - begin, time.perf_counter_ns() - end)
        return _Ran(results, times, busy)


class _Ran(NamedTuple):
    """A batch that has run: what each request gets, and what it took."""

    results: list[dict[str, Array]]
    times: BatchTimes
    busy_seconds: float


def _failure_reason(error: BaseException) -> str:
    """Triton's word for why a request got no answer."""
    if isinstance(error, asyncio.CancelledError):
        return "CANCELED"
    if isinstance(error, FaultError):
        return "BACKEND"
    if isinstance(error, UnavailableError | ResourceExhaustedError | DeadlineExceededError):
        return "REJECTED"
    return "BACKEND" if isinstance(error, Exception) else "OTHER"


def _derivations(manifest: Manifest | None) -> tuple[Derivation | None, Derivation | None]:
    """The last step by which a version was made from another, and the one that changed it."""
    if manifest is None or not manifest.derivations:
        return None, None
    return manifest.derivations[-1], manifest.lossy_derivation
