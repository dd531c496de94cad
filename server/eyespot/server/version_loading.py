"""Loading one model version: hashing, the session, the warm-up; all that blocks, in any thread."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyespot.server.config import ServerConfig
from eyespot.server.errors import RepositoryError
from eyespot.server.loaded_version import LoadedVersion, fingerprint_of
from eyespot.server.model_config import ModelConfig, TensorConfig, complete
from eyespot.server.original_use import reads_originals
from eyespot.server.repository import (
    VersionFolder,
    check_files,
    damaged_gradients,
    read_labels,
)
from eyespot.server.session import Session, SessionSettings
from eyespot.server.session_cache import cache_folder, open_cached
from eyespot.server.session_config import read_session_settings
from eyespot.server.warmup import run_warmups
from eyespot.v1.manifest import Manifest
from eyespot.v1.sha256 import sha256_of
from eyespot.v1.tensors import DATATYPES

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


def load_version(
    folder: VersionFolder,
    settings: ServerConfig,
    *,
    hash_of: Callable[[Path], str] = sha256_of,
) -> LoadedVersion:
    """Loads, checks and warms up one version; blocks.

    Args:
        folder: where it lies.
        settings: of the server.
        hash_of: gives the SHA-256 of a file.

    Raises:
        RepositoryError: the version cannot be served.
        StartError: the server cannot serve at all, as without its execution provider.
    """
    seen = fingerprint_of(folder)
    with_original = reads_originals(settings)
    manifest = check_files(folder, with_original=with_original, hash_of=hash_of)
    if manifest is not None and settings.explain != "off":
        for reason in dict.fromkeys(damaged_gradients(folder.folder, manifest).values()):
            _logger.warning(
                "model %r version %s is served, but not explained by a gradient graph: %s",
                folder.model_name,
                folder.model_version,
                reason,
            )
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
            "model %r: config.pbtxt sets what Eyespot does not honour: %s",
            config.name,
            ", ".join(config.unhonoured),
        )
    if manifest is not None:
        config = config._replace(inputs=tuple(_informed(each, manifest) for each in config.inputs))
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
        with_original=with_original,
    )


def _informed(spec: TensorConfig, manifest: Manifest) -> TensorConfig:
    """Adds what the export has noted about an input: its sizes and symbols."""
    axes = {axis.name: axis for axis in manifest.dynamic_axes}
    for told in manifest.inputs:
        if told.name == spec.name and len(told.shape) == len(spec.shape):
            known = [axes.get(size) if isinstance(size, str) else None for size in told.shape]
            return spec._replace(
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
    try:
        for rows in (1, largest):
            if _zeros_bytes(config.inputs, rows) > _MOST_WARM_UP_BYTES:
                _logger.info("model %r: %d rows are too large to be tried", config.name, rows)
                return one, False
            zeros = _zeros(config.inputs, rows)
            fastest = _fastest_seconds(session, zeros, names)
            one = zeros if one is None else one
            if fastest > _EVENT_LOOP_SECONDS:
                return one, False
    except Exception as error:
        if _is_wholly_known(config) and _takes_measured_values(config):
            raise RepositoryError(f"the graph fails on zeros: {error}") from error
        # What was made up may be at fault (a size, a divisor, a text), so nothing is known.
        _logger.info("model %r could not be warmed up: %s", config.name, error)
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
