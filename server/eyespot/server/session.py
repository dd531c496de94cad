"""One ONNX Runtime session: a graph in, arrays through it, nothing silent.

One InferenceSession runs several batches at once, from several threads, on a single
copy of the weights. Intra-op threads do not spin: a spinning thread burns the core that
the event loop, the other models and the gradients need.
"""

import contextlib
import ctypes
import functools
import io
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from eyespot.server.arena import Arena
from eyespot.server.errors import (
    DeviceUnavailableError,
    InvalidArgumentError,
    RepositoryError,
    StartError,
)
from eyespot.v1.tensors import datatype_from_onnx

Array = NDArray[np.generic]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# TF32 rounds factors to ten bits: a thousandth of the scale, beyond every parity tolerance.
# To try all algorithms of each convolution takes a second for each new batch size, in the middle
# of serving; what cuDNN deems best is as fast afterwards (docs/decisions/sessions-and-threads.md).
_PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    "cpu": {},
    "cuda": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
}
_BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16
_SILENT = 4  # what goes wrong is raised
_logger = logging.getLogger(__name__)


class GraphTensor(NamedTuple):
    """An input or output as the graph declares it; -1 is a dynamic dimension."""

    name: str
    onnx_type: str
    shape: tuple[int, ...]

    @property
    def datatype(self) -> str:
        """The datatype on the wire."""
        datatype = datatype_from_onnx(self.onnx_type)
        if datatype is None:
            raise RepositoryError(
                f"{self.name!r} is of ONNX type {self.onnx_type}, which the protocol cannot "
                "carry; leave it out of the outputs in config.pbtxt"
            )
        return datatype.name


class SessionSettings(NamedTuple):
    """How a session is made; the defaults are those of the server.

    Attributes:
        device: "cpu" or "cuda".
        device_id: Which of several CUDA devices.
        intra_op_num_threads: Inside one operator.
        inter_op_num_threads: Between operators, where they run in parallel.
        is_parallel: Whether operators that do not need each other run at once.
        optimization: "all", "extended", "basic" or "none" of the runtime's rewriting.
        enable_cpu_mem_arena: Whether memory is kept for the next run.
        enable_mem_pattern: Whether it is planned ahead where shapes are known.
        enable_prepacking: Whether weights are copied into the order that is fastest.
    """

    device: str = "cpu"
    device_id: int = 0
    intra_op_num_threads: int = 1
    inter_op_num_threads: int = 1
    is_parallel: bool = False
    optimization: str = "all"
    enable_cpu_mem_arena: bool = True
    enable_mem_pattern: bool = True
    enable_prepacking: bool = True


class Session:
    """A loaded graph on one execution provider.

    Args:
        session: The runtime's.
        open_anew: Makes another one like it.
        runs_in_its_thread: Whether a run is the work of the thread that asks for it.
        plans_by_size: Whether a run that has other sizes than the one before is dear.
    """

    def __init__(
        self,
        session: Any,
        open_anew: Callable[[], Any],
        *,
        runs_in_its_thread: bool,
        plans_by_size: bool = False,
    ) -> None:
        self._session = session
        self._open_anew = open_anew
        # Processor time, where it is all of the work: others that use the machine do not blur it.
        self.busy_seconds = time.thread_time if runs_in_its_thread else time.perf_counter
        self.plans_by_size = plans_by_size
        self._run = session.run
        self.inputs = tuple(_graph_tensor(node) for node in session.get_inputs())
        self.outputs = tuple(_graph_tensor(node) for node in session.get_outputs())
        self._bf16_inputs = _names_of_bf16(self.inputs)
        self._has_bf16 = bool(self._bf16_inputs or _names_of_bf16(self.outputs))
        self._arena: Arena | None = None  # where it needs to be kept small

    @classmethod
    def open(
        cls,
        path: Path,
        settings: SessionSettings | None = None,
        *,
        cached: Path | None = None,
        optimised: Path | None = None,
    ) -> Self:
        """Loads a graph.

        Where its external data lies has been checked: see `repository.check_files`.

        Args:
            path: of the graph.
            settings: of the session.
            cached: the graph as the runtime has optimised it before, loaded in its place.
            optimised: where the runtime leaves what it has made of the graph.

        Raises:
            RepositoryError: the file is missing, damaged, or beyond the runtime.
            DeviceUnavailableError: the provider of the device cannot be used.
        """
        settings = settings or SessionSettings()
        is_alone = settings.intra_op_num_threads == 1 and not settings.is_parallel
        in_thread = settings.device == "cpu" and is_alone
        runtime_session = _open(path, settings, cached=cached, optimised=optimised)
        varies = any(-1 in _graph_tensor(node).shape[1:] for node in runtime_session.get_inputs())
        if (
            varies and settings.enable_mem_pattern
        ):  # one would be kept for each size that ever comes
            settings = settings._replace(enable_mem_pattern=False)
            runtime_session = _open(path, settings, cached=cached)
        session = cls(
            runtime_session,
            functools.partial(_open, path, settings),
            runs_in_its_thread=in_thread,
            plans_by_size=settings.device == "cuda",
        )
        if varies:
            session._arena = _arena(settings)
        return session

    def reopen(self) -> None:
        """Makes the runtime's session anew; runs that are under way end with the old one.

        Raises:
            RepositoryError, DeviceUnavailableError: as `open`; then the old one stays.
        """
        session = self._open_anew()
        self._session, self._run = session, session.run

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Runs the graph once; blocks until the outputs are there.

        BF16 goes in and comes out as bit patterns in uint16, strings as str.

        Raises:
            InvalidArgumentError: the graph rejects the values, such as an index out of range.
        """
        try:
            if self._has_bf16:
                return self._run_bf16(inputs, outputs)
            if self._arena is not None and (options := self._arena.options_for(inputs)) is not None:
                return dict(zip(outputs, self._run(outputs, inputs, options), strict=True))
            return dict(zip(outputs, self._run(outputs, inputs), strict=True))
        except Exception as error:
            if type(error).__name__ == "InvalidArgument":
                raise InvalidArgumentError(f"the model rejects it: {_one_line(error)}") from error
            raise

    def _run_bf16(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """NumPy has no bfloat16, so tensors go through the runtime's own values."""
        make = _import_runtime().OrtValue
        values = {
            name: make.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array), _BFLOAT16)
            if name in self._bf16_inputs
            else make.ortvalue_from_numpy(array)
            for name, array in inputs.items()
        }
        results = self._session.run_with_ort_values(outputs, values)
        return dict(zip(outputs, map(_to_numpy, results), strict=True))


def runtime_version() -> str:
    """The version of ONNX Runtime."""
    return str(_import_runtime().__version__)


def check_device(device: str) -> None:
    """Makes sure that the execution provider of `device` is installed.

    Raises:
        DeviceUnavailableError: it is not; nothing falls back to another one.
    """
    available = _import_runtime().get_available_providers()
    if _PROVIDERS[device] not in available:
        raise DeviceUnavailableError(
            f"device {device} needs {_PROVIDERS[device]}, but this onnxruntime has "
            f"{', '.join(available)}. The two builds share a folder, so remove this one first: "
            f"pip uninstall onnxruntime; then: pip install 'eyespot[serve-{device}]'"
        )


def _open(
    path: Path,
    settings: SessionSettings,
    *,
    cached: Path | None = None,
    optimised: Path | None = None,
) -> Any:
    runtime = _import_runtime()
    provider = _PROVIDERS[settings.device]
    provider_options = dict(_PROVIDER_OPTIONS[settings.device])
    missing = ""
    if settings.device == "cuda":
        provider_options["device_id"] = str(settings.device_id)
        missing = _load_cuda_libraries(runtime)
    options = _options(
        runtime, settings if cached is None else settings._replace(optimization="none")
    )
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    try:
        session = runtime.InferenceSession(
            str(cached or path),
            options,
            providers=[(provider, provider_options)],
        )
    except Exception as error:  # the runtime's errors have no class of their own in common
        raise RepositoryError(f"{path.name} cannot be loaded: {_one_line(error)}") from error
    session.disable_fallback()
    # A provider whose libraries are missing is left out by the runtime with a mere warning.
    if session.get_providers()[0] != provider:
        raise DeviceUnavailableError(
            f"{provider} could not be started, only {', '.join(session.get_providers())}: "
            "see that a device and the CUDA libraries are there (pip install "
            f"'onnxruntime-gpu[cuda,cudnn]' brings them). {missing}".rstrip()
        )
    return session


@functools.cache
def _load_cuda_libraries(runtime: Any) -> str:
    """Load those that pip has installed, where the system does not look; gives what is missing."""
    runtime.set_default_logger_severity(_SILENT)  # it warns of plugins that nobody asked for
    told = io.StringIO()
    with contextlib.redirect_stdout(told):  # the runtime prints it
        runtime.preload_dlls()
    return " ".join(told.getvalue().split())


def _options(runtime: Any, settings: SessionSettings) -> Any:
    levels, modes = runtime.GraphOptimizationLevel, runtime.ExecutionMode
    options = runtime.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_num_threads
    options.inter_op_num_threads = settings.inter_op_num_threads
    options.execution_mode = modes.ORT_PARALLEL if settings.is_parallel else modes.ORT_SEQUENTIAL
    options.graph_optimization_level = {
        "all": levels.ORT_ENABLE_ALL,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "basic": levels.ORT_ENABLE_BASIC,
        "none": levels.ORT_DISABLE_ALL,
    }[settings.optimization]
    options.enable_cpu_mem_arena = settings.enable_cpu_mem_arena
    options.enable_mem_pattern = settings.enable_mem_pattern
    if not settings.enable_prepacking:
        options.add_session_config_entry("session.disable_prepacking", "1")
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _arena(settings: SessionSettings) -> Arena | None:
    if settings.device == "cpu" and not settings.enable_cpu_mem_arena:
        return None
    shrinking = _import_runtime().RunOptions()
    device = "cpu:0" if settings.device == "cpu" else f"gpu:{settings.device_id}"
    shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", device)
    return Arena(shrinking)


def _import_runtime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise StartError("serving needs ONNX Runtime; run: pip install 'eyespot[serve]'") from None
    return onnxruntime


def _graph_tensor(node: Any) -> GraphTensor:
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return GraphTensor(node.name, node.type, shape)


def _names_of_bf16(tensors: Sequence[GraphTensor]) -> frozenset[str]:
    return frozenset(t.name for t in tensors if t.onnx_type == "tensor(bfloat16)")


def _to_numpy(value: Any) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        return cast(Array, value.numpy())
    count = math.prod(value.shape())
    memory = (ctypes.c_uint16 * count).from_address(value.data_ptr()) if count else []
    return np.array(memory, np.uint16).reshape(value.shape())  # a copy: `value` owns the memory


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
