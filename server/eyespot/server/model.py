"""One served model version: its session behind its batcher, and its explainer if it has one.

`load_version` does all that blocks (hashing, the session, the warm-up) and may run in any
thread; `Model` is made from the result on the event loop and lives there.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
    RepositoryError,
    RequestError,
    ResourceExhaustedError,
    UnavailableError,
)
from eyespot.server.loaded_version import LoadedVersion, fingerprint_of
from eyespot.server.model_config import DynamicBatching, ModelConfig, TensorConfig, complete
from eyespot.server.repository import VersionFolder, check_files, read_labels
from eyespot.server.session import Session, SessionSettings
from eyespot.server.session_cache import cache_folder, open_cached
from eyespot.server.session_config import read_session_settings
from eyespot.server.statistics import BatchTimes, Statistics
from eyespot.server.wait_estimate import WaitEstimate
from eyespot.server.waiting_bytes import WaitingBytes, bytes_of
from eyespot.server.warmup import run_warmups
from eyespot.server.watched_session import WatchedSession
from eyespot.server.workers import Workers
from eyespot.v1.manifest import Derivation, Manifest
from eyespot.v1.tensors import DATATYPES

if TYPE_CHECKING:
    from eyespot.server.explainer import Explainer

Array = NDArray[np.generic]

# Up to here a batch costs the event loop less than handing it to a thread and back costs
# the requests in it, and delays nobody noticeably.
_EVENT_LOOP_SECONDS = 0.002
_WARM_UP_RUNS = 5
# Zeros that take more are not tried: a configuration may announce any number of rows.
_MOST_WARM_UP_BYTES = 256 << 20
_HOPELESS = 3  # times it; a first run may take twice as long as the next
_MEASURED_DATATYPES = ("FP16", "BF16", "FP32", "FP64", "UINT8")  # UINT8 for pixels
_logger = logging.getLogger(__name__)


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


def load_version(folder: VersionFolder, settings: ServerConfig) -> LoadedVersion:
    """Loads, checks and warms up one version; blocks.

    Raises:
        RepositoryError: the version cannot be served.
        StartError: the server cannot serve at all, as without its execution provider.
    """
    seen = fingerprint_of(folder)
    manifest = check_files(folder, with_original=settings.explain != "off")
    session_settings = read_session_settings(
        folder.config_file.message,
        SessionSettings(
            device=settings.device,
            intra_op_num_threads=settings.intra_op_num_threads,
            enable_cpu_mem_arena=not settings.low_memory,
            enable_mem_pattern=not settings.low_memory,
            enable_prepacking=not settings.low_memory,
        ),
    )
    session = open_cached(
        folder.model_path,
        session_settings,
        sha256=manifest.files.get(folder.model_path.name) if manifest else None,
        folder=None if settings.low_memory else cache_folder(settings.model_cache),
    )
    config = complete(
        folder.config_file,
        name=folder.model_name,
        inputs=session.inputs,
        outputs=session.outputs,
    )
    if config.unhonoured and settings.strict:
        raise RepositoryError(
            f"config.pbtxt sets what Eyespot does not honour: {', '.join(config.unhonoured)}"
        )
    if config.unhonoured:
        _logger.warning(
            "model %s: config.pbtxt sets what Eyespot does not honour: %s",
            config.name,
            ", ".join(config.unhonoured),
        )
    if manifest is not None:
        config = replace(config, inputs=tuple(_informed(each, manifest) for each in config.inputs))
    labels = _read_labels(folder, config)
    warmed = run_warmups(session, config, folder)
    zeros, runs_on_event_loop = _warm_up(session, config)
    return LoadedVersion(
        folder=folder,
        config=config,
        session=session,
        labels=labels,
        manifest=manifest,
        runs_on_event_loop=runs_on_event_loop,
        good_inputs=zeros if warmed is None else warmed,
        fingerprint=seen,
    )


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
        self._growth = self._batch_growth(batching) if joins else None
        self._batcher: Batcher[InferCall, dict[str, Array]] = Batcher(
            self._execute,
            max_batch_size=loaded.config.max_batch_size if joins else 0,
            max_queue_delay_microseconds=batching.max_queue_delay_microseconds,
            preferred_batch_size=batching.preferred_batch_size,
            max_queue_size=batching.max_queue_size or settings.max_queue_size,
            default_policy=batching.default_policy,
            policies=batching.policies,
            priority_levels=batching.priority_levels,
            default_priority_level=batching.default_priority_level,
            preserve_ordering=batching.preserve_ordering,
            gathers=self._runs_on_event_loop,
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
        """Counts a call for attributions that is answered within the block.

        Raises:
            WaitingBytesError: its bytes find no room.
        """
        holding = self._waiting_bytes.holding(bytes_of([inputs]), current_caller().identity)
        with holding, self.statistics.explaining():
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

    def _batch_growth(self, batching: DynamicBatching) -> BatchGrowth | None:
        """None where batches delay nobody, or where config.pbtxt says how requests join."""
        is_told = batching.preferred_batch_size or batching.max_queue_delay_microseconds
        if self._runs_on_event_loop or is_told:
            return None
        return BatchGrowth(self.config.max_batch_size)

    async def _execute(self, batch: Sequence[InferCall]) -> Sequence[dict[str, Array]]:
        self._guard.check()  # what waited while the circuit opened
        rebuilds = self._guard.rebuilds
        try:
            if self._runs_on_event_loop:
                results, times, busy_seconds = self._run(batch)
            else:
                results, times, busy_seconds = await self._workers.run(self._run, batch)
        except Exception as error:
            told = await self._guard.judge(error, rebuilds=rebuilds)
            if told is error:
                raise
            raise told from error
        rows = sum(call.rows for call in batch)
        if self._growth is not None:
            self._growth.note(batch[0].key, rows, busy_seconds)
        self.statistics.record_batch(times, rows=rows, requests=len(batch))
        return results

    def _run(self, batch: Sequence[InferCall]) -> tuple[list[dict[str, Array]], BatchTimes, float]:
        start = time.perf_counter_ns()
        inputs = concatenate([call.inputs for call in batch]) if len(batch) > 1 else batch[0].inputs
        begin, busy = time.perf_counter_ns(), self._session.busy_seconds()
        outputs = self._session.run(inputs)
        end, busy = time.perf_counter_ns(), self._session.busy_seconds() - busy
        if self.config.max_batch_size:
            results = split(outputs, [call.rows for call in batch])
        else:
            results = [outputs]
        times = BatchTimes(begin - start, end - begin, time.perf_counter_ns() - end)
        return results, times, busy


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


def _informed(spec: TensorConfig, manifest: Manifest) -> TensorConfig:
    """Adds what the export has noted about an input: its sizes and symbols."""
    axes = {axis.name: axis for axis in manifest.dynamic_axes}
    for told in manifest.inputs:
        if told.name == spec.name and len(told.shape) == len(spec.shape):
            known = [axes.get(size) if isinstance(size, str) else None for size in told.shape]
            return replace(
                spec,
                smallest=tuple(1 if axis is None else axis.minimum for axis in known),
                usual=tuple(1 if axis is None else axis.example for axis in known),
                symbols=manifest.symbols.get(spec.name, 0),
            )
    return spec


def _read_labels(folder: VersionFolder, config: ModelConfig) -> tuple[str, ...]:
    """The labels of the first output that has any."""
    for output in config.outputs:
        if output.label_filename:
            labels = read_labels(folder.folder.parent, output.label_filename)
            classes = _class_count(output)
            if classes not in (-1, len(labels)):
                raise RepositoryError(
                    f"{output.label_filename} has {len(labels)} labels for the {classes} classes "
                    f"of {output.name!r}"
                )
            return labels
    return ()


def _class_count(output: TensorConfig) -> int:
    """How many classes an output tells apart; -1 where that is not known.

    Of maps (batch, classes, height, width) it is the second size, else the last.
    """
    if not output.shape:
        return -1
    return output.shape[1] if len(output.shape) == 4 else output.shape[-1]


def _warm_up(session: Session, config: ModelConfig) -> tuple[Mapping[str, Array] | None, bool]:
    """Runs zeros through the graph.

    Returns:
        One row of zeros if it can be run, and whether the largest batch is fit for the event loop.

    Raises:
        RepositoryError: a graph of measured values fails on zeros, though its sizes are known.
    """
    names = [output.name for output in config.outputs]
    largest = max(1, config.max_batch_size)
    one: Mapping[str, Array] | None = None
    if _zeros_bytes(config.inputs, 1) > _MOST_WARM_UP_BYTES:
        _logger.info("model %s is not warmed up: one row of it is too large", config.name)
        return None, False
    try:
        row = _zeros(config.inputs, 1)
        session.run(row, names)
        one = row
        for rows in (1, largest):
            if _zeros_bytes(config.inputs, rows) > _MOST_WARM_UP_BYTES:
                return one, False
            if _fastest_seconds(session, _zeros(config.inputs, rows), names) > _EVENT_LOOP_SECONDS:
                return one, False
    except Exception as error:
        if _is_wholly_known(config) and _takes_measured_values(config):
            raise RepositoryError(f"the graph fails on zeros: {error}") from error
        # What was made up may be at fault (a size, a divisor, a text), so nothing is known.
        _logger.info("model %s could not be warmed up: %s", config.name, error)
        return one, False
    return one, _is_wholly_known(config)


def _fastest_seconds(session: Session, inputs: Mapping[str, Array], names: Sequence[str]) -> float:
    """The fastest of a few runs, in the session's own time: a busy machine hardly changes that.

    Where this thread alone has computed for much longer than the event loop may wait, no
    further run will tell otherwise.
    """
    fastest = math.inf
    for _ in range(_WARM_UP_RUNS):
        start, computed = session.busy_seconds(), time.thread_time()
        session.run(inputs, names)
        fastest = min(fastest, session.busy_seconds() - start)
        if time.thread_time() - computed > _HOPELESS * _EVENT_LOOP_SECONDS:
            break
    return fastest


def _zeros(inputs: Sequence[TensorConfig], rows: int) -> dict[str, Array]:
    made: dict[str, Array] = {}
    for spec in inputs:
        shape = _warm_up_shape(spec, rows)
        if spec.datatype == "BYTES":
            made[spec.name] = np.full(shape, "", object)
        else:
            made[spec.name] = np.zeros(shape, DATATYPES[spec.datatype].numpy)
    return made


def _zeros_bytes(inputs: Sequence[TensorConfig], rows: int) -> int:
    return sum(
        math.prod(_warm_up_shape(spec, rows)) * DATATYPES[spec.datatype].numpy.itemsize
        for spec in inputs
    )


def _warm_up_shape(spec: TensorConfig, rows: int) -> list[int]:
    usual = spec.usual or (1,) * len(spec.shape)
    shape = [u if size < 0 else size for size, u in zip(spec.shape, usual, strict=True)]
    if spec.shape and spec.shape[0] == -1:
        shape[0] = rows
    return shape


def _is_wholly_known(config: ModelConfig) -> bool:
    """Whether only the number of rows varies, so that zeros tell what requests will cost."""
    first = 1 if config.max_batch_size else 0
    return all(spec.datatype != "BYTES" and -1 not in spec.shape[first:] for spec in config.inputs)


def _takes_measured_values(config: ModelConfig) -> bool:
    """Whether zero is an input as good as any: what it takes is no size and no divisor."""
    return len(config.inputs) == 1 and config.inputs[0].datatype in _MEASURED_DATATYPES
