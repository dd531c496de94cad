"""`model_warmup` of config.pbtxt: made-up requests that must be answered before a model is ready.

Triton's ModelWarmup: each has a name, a batch_size and its inputs, of zeros, of random numbers
or from a file in the folder `warmup` of the model, and is run `count` times.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyespot.server.errors import InvalidArgumentError, RepositoryError
from eyespot.server.model_config import ModelConfig, TensorConfig
from eyespot.server.repository import VersionFolder
from eyespot.server.session import Session
from eyespot.v1 import model_config_pb2
from eyespot.v1.tensors import DATATYPES, TensorError, datatype_from_config, decode

Array = NDArray[np.generic]

_FOLDER = "warmup"
_SEED = 0
_MOST_RUNS = 10_000  # of one warm-up: more would keep the model from being ready
_MOST_BYTES = 1 << 30  # of one input
_logger = logging.getLogger(__name__)


def run_warmups(
    session: Session, config: ModelConfig, folder: VersionFolder
) -> Mapping[str, Array] | None:
    """Runs every warm-up of a model; blocks.

    Returns:
        The inputs of the first one; None without any.

    Raises:
        RepositoryError: one does not fit the model, or fails.
    """
    outputs = [output.name for output in config.outputs]
    first = None
    for warmup in folder.config_file.message.model_warmup:
        if not warmup.batch_size:  # Triton passes it by, too
            _logger.warning(
                "model %r: the warm-up %r has no batch_size and is left out",
                config.name,
                warmup.name,
            )
            continue
        try:
            inputs = _inputs_of(warmup, config, folder.folder.parent / _FOLDER)
            for _ in range(max(1, warmup.count)):
                session.run(inputs, outputs)
            first = inputs if first is None else first
        except (RepositoryError, InvalidArgumentError) as error:
            raise RepositoryError(f"the warm-up {warmup.name!r} fails: {error}") from error
        except Exception as error:  # the runtime's errors have no class of their own in common
            told = " ".join(str(error).split())
            raise RepositoryError(f"the warm-up {warmup.name!r} fails: {told}") from error
    return first


def _inputs_of(
    warmup: model_config_pb2.ModelWarmup, config: ModelConfig, files: Path
) -> Mapping[str, Array]:
    most = max(1, config.max_batch_size)
    if warmup.batch_size > most:
        raise RepositoryError(f"its batch_size {warmup.batch_size} is above {most}")
    specs = {spec.name: spec for spec in config.inputs}
    if warmup.count > _MOST_RUNS:
        raise RepositoryError(f"its count {warmup.count} is above {_MOST_RUNS}")
    if set(warmup.inputs) != set(specs):
        raise RepositoryError(
            f"it has the inputs {sorted(warmup.inputs)}, the model {sorted(specs)}"
        )
    rows = warmup.batch_size if config.max_batch_size else None
    return {name: _array_of(warmup.inputs[name], spec, rows, files) for name, spec in specs.items()}


def _array_of(
    given: model_config_pb2.ModelWarmup.Input, spec: TensorConfig, rows: int | None, files: Path
) -> Array:
    """One input: (*dims), or (B, *dims) of equal rows where the model takes batches."""
    dims = tuple(given.dims)
    expected = spec.shape if rows is None else spec.shape[1:]
    fits = len(dims) == len(expected) and all(
        size > 0 and wanted in (-1, size) for wanted, size in zip(expected, dims, strict=True)
    )
    if not fits:
        raise RepositoryError(f"its {spec.name!r} has the dims {list(dims)}, not {list(expected)}")
    size = math.prod(dims) * (rows or 1) * DATATYPES[spec.datatype].numpy.itemsize
    if size > _MOST_BYTES:
        raise RepositoryError(f"its {spec.name!r} takes {size} bytes, at most {_MOST_BYTES}")
    try:
        if datatype_from_config(given.data_type).name != spec.datatype:
            raise RepositoryError(f"its {spec.name!r} is not of {spec.datatype}")
        row = _values_of(given, spec, dims, files)
    except TensorError as error:
        raise RepositoryError(f"its {spec.name!r}: {error}") from error
    return row if rows is None else np.stack([row] * rows)  # (*dims) -> (B, *dims)


def _values_of(
    given: model_config_pb2.ModelWarmup.Input,
    spec: TensorConfig,
    dims: tuple[int, ...],
    files: Path,
) -> Array:
    match given.WhichOneof("input_data_type"):
        case "input_data_file":
            raw = _read(files, given.input_data_file)
            values = decode(raw, datatype=spec.datatype, shape=dims)
            return _texts(values) if _is_text(spec) else values
        case "random_data" if not _is_text(spec):
            return _random(spec.datatype, dims)
        case None:
            raise RepositoryError(
                f"its {spec.name!r} has neither zero_data nor random_data nor input_data_file"
            )
        case _ if _is_text(spec):  # Triton's random texts are empty ones, too
            return np.full(dims, "", object)
        case _:
            return np.zeros(dims, DATATYPES[spec.datatype].numpy)


def _texts(values: Array) -> Array:
    """ONNX's strings are UTF-8, the protocol's BYTES are anything."""
    texts = np.empty(values.size, object)
    texts[:] = [element.decode() for element in values.ravel().tolist()]
    return texts.reshape(values.shape)


def _is_text(spec: TensorConfig) -> bool:
    return spec.datatype == "BYTES"


def _random(datatype: str, dims: tuple[int, ...]) -> Array:
    """Numbers from 0 to 1, or any that a type of whole numbers has; the same each time."""
    generator = np.random.default_rng(_SEED)
    dtype = DATATYPES[datatype].numpy
    if datatype == "BF16":  # the upper half of an FP32
        return (generator.random(dims, np.float32).view(np.uint32) >> 16).astype(dtype)
    if dtype.kind == "f":
        return generator.random(dims).astype(dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, dims).astype(dtype)
    limits = np.iinfo(str(dtype))
    return generator.integers(limits.min, limits.max, dims, str(dtype), endpoint=True)


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RepositoryError(f"input_data_file {name!r} leaves the folder {_FOLDER!r}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise RepositoryError(f"{_FOLDER}/{name} cannot be read: {error.strerror}") from error
