"""One served model version: its session behind its batcher, and its explainer if it has one.

`load_version` does all that blocks (hashing, the session, the warm-up) and may run in any
thread; `Model` is made from the result on the event loop and lives there.
"""

import asyncio
import logging
import time
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyespot.server.batch import concatenate, split
from eyespot.server.batcher import Batcher, Outcome
from eyespot.server.callers import current_caller
from eyespot.server.config import ServerConfig
from eyespot.server.errors import (
    DeadlineExceededError,
    ModelUnavailableError,
    RepositoryError,
    RequestError,
    ResourceExhaustedError,
    UnavailableError,
)
from eyespot.server.model_config import DynamicBatching, ModelConfig, TensorConfig, complete
from eyespot.server.repository import VersionFolder, check_files, read_labels
from eyespot.server.session import Session, SessionSettings
from eyespot.server.session_cache import cache_folder, open_cached
from eyespot.server.session_config import read_session_settings
from eyespot.server.statistics import BatchTimes, Statistics
from eyespot.server.warmup import run_warmups
from eyespot.v1.manifest import Manifest
from eyespot.v1.tensors import DATATYPES

if TYPE_CHECKING:
    from eyespot.server.explainer import Explainer

Array = NDArray[np.generic]

# Up to here a batch costs the event loop less than handing it to a thread and back costs
# the requests in it, and delays nobody noticeably.
_EVENT_LOOP_NS = 2_000_000
_WARM_UP_RUNS = 5
_HOPELESS = 3  # times it; a first run may take twice as long as the next
_MEASURED_DATATYPES = ("FP16", "BF16", "FP32", "FP64", "UINT8")  # UINT8 for pixels
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InferCall:
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


@dataclass(frozen=True)
class LoadedVersion:
    """What loading a version yields; what explains it comes later."""

    folder: VersionFolder
    config: ModelConfig
    session: Session
    labels: tuple[str, ...]
    manifest: Manifest | None
    runs_on_event_loop: bool


def load_version(folder: VersionFolder, settings: ServerConfig) -> LoadedVersion:
    """Loads, checks and warms up one version; blocks.

    Raises:
        RepositoryError: the version cannot be served.
        StartError: the server cannot serve at all, as without its execution provider.
    """
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
    run_warmups(session, config, folder)
    runs_on_event_loop = _warm_up(session, config)
    return LoadedVersion(
        folder=folder,
        config=config,
        session=session,
        labels=labels,
        manifest=manifest,
        runs_on_event_loop=runs_on_event_loop,
    )


class Model:
    """A loaded version that answers calls; use it from one event loop."""

    def __init__(self, loaded: LoadedVersion, settings: ServerConfig) -> None:
        self.name = loaded.config.name
        self.version = loaded.folder.model_version
        self.config = loaded.config
        self.labels = loaded.labels
        self.statistics = Statistics()
        self._session = loaded.session
        self._output_names = [output.name for output in loaded.config.outputs]
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
        self._threads = ThreadPoolExecutor(instances, thread_name_prefix=f"session-{self.name}")
        batching = loaded.config.dynamic_batching or DynamicBatching()
        joins = loaded.config.dynamic_batching is not None
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
            instances=instances,
        )

    async def infer(self, call: InferCall) -> Outcome[dict[str, Array]]:
        """Answers one request with every output of the model by name, and what it took."""
        start = time.perf_counter_ns()
        try:
            outcome = await self._batcher.submit(
                call,
                rows=call.rows,
                key=call.key,
                deadline=call.deadline,
                priority=call.priority,
                timeout=call.timeout,
                caller=current_caller().identity,
            )
        except BaseException as error:
            elapsed = time.perf_counter_ns() - start
            self.statistics.record_failure(elapsed, reason=_failure_reason(error))
            raise
        self.statistics.record_success(time.perf_counter_ns() - start, queue_ns=outcome.queue_ns)
        return outcome

    @property
    def queue_size(self) -> int:
        """How many requests wait now."""
        return self._batcher.queue_size

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
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._explainer is not None:
            self._explainer.close()

    async def _execute(self, batch: Sequence[InferCall]) -> Sequence[dict[str, Array]]:
        if self._runs_on_event_loop:
            results, times = self._run(batch)
        else:
            loop = asyncio.get_running_loop()
            results, times = await loop.run_in_executor(self._threads, self._run, batch)
        rows = sum(call.rows for call in batch)
        self.statistics.record_batch(times, rows=rows, requests=len(batch))
        return results

    def _run(self, batch: Sequence[InferCall]) -> tuple[list[dict[str, Array]], BatchTimes]:
        start = time.perf_counter_ns()
        inputs = concatenate([call.inputs for call in batch]) if len(batch) > 1 else batch[0].inputs
        begin = time.perf_counter_ns()
        outputs = self._session.run(inputs, self._output_names)
        end = time.perf_counter_ns()
        if self.config.max_batch_size:
            results = split(outputs, [call.rows for call in batch])
        else:
            results = [outputs]
        times = BatchTimes(begin - start, end - begin, time.perf_counter_ns() - end)
        return results, times


def _failure_reason(error: BaseException) -> str:
    """Triton's word for why a request got no answer."""
    if isinstance(error, asyncio.CancelledError):
        return "CANCELED"
    if isinstance(error, UnavailableError | ResourceExhaustedError | DeadlineExceededError):
        return "REJECTED"
    return "BACKEND" if isinstance(error, Exception) else "OTHER"


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


def _warm_up(session: Session, config: ModelConfig) -> bool:
    """Runs zeros through the graph; says whether its largest batch is fit for the event loop.

    Raises:
        RepositoryError: a graph of measured values fails on zeros, though its sizes are known.
    """
    names = [output.name for output in config.outputs]
    largest = max(1, config.max_batch_size)
    try:
        for rows in (1, largest):
            if _fastest_ns(session, _zeros(config.inputs, rows), names) > _EVENT_LOOP_NS:
                return False
    except Exception as error:
        if _is_wholly_known(config) and _takes_measured_values(config):
            raise RepositoryError(f"the graph fails on zeros: {error}") from error
        # What was made up may be at fault (a size, a divisor, a text), so nothing is known.
        _logger.info("model %s could not be warmed up: %s", config.name, error)
        return False
    return _is_wholly_known(config)


def _fastest_ns(session: Session, inputs: Mapping[str, Array], names: Sequence[str]) -> int:
    """The fastest of a few runs: on a busy machine all but it measure the neighbours.

    Where this thread alone has computed for much longer than the event loop may wait, no
    further run will tell otherwise.
    """
    fastest = None
    for _ in range(_WARM_UP_RUNS):
        start, computed = time.perf_counter_ns(), time.thread_time_ns()
        session.run(inputs, names)
        elapsed = time.perf_counter_ns() - start
        fastest = elapsed if fastest is None else min(fastest, elapsed)
        if time.thread_time_ns() - computed > _HOPELESS * _EVENT_LOOP_NS:
            break
    assert fastest is not None
    return fastest


def _zeros(inputs: Sequence[TensorConfig], rows: int) -> dict[str, Array]:
    made: dict[str, Array] = {}
    for spec in inputs:
        usual = spec.usual or (1,) * len(spec.shape)
        shape = [u if size < 0 else size for size, u in zip(spec.shape, usual, strict=True)]
        if spec.shape and spec.shape[0] == -1:
            shape[0] = rows
        if spec.datatype == "BYTES":
            made[spec.name] = np.full(shape, "", object)
        else:
            made[spec.name] = np.zeros(shape, DATATYPES[spec.datatype].numpy)
    return made


def _is_wholly_known(config: ModelConfig) -> bool:
    """Whether only the number of rows varies, so that zeros tell what requests will cost."""
    first = 1 if config.max_batch_size else 0
    return all(spec.datatype != "BYTES" and -1 not in spec.shape[first:] for spec in config.inputs)


def _takes_measured_values(config: ModelConfig) -> bool:
    """Whether zero is an input as good as any: what it takes is no size and no divisor."""
    return len(config.inputs) == 1 and config.inputs[0].datatype in _MEASURED_DATATYPES
