"""`config.pbtxt`, Triton's `ModelConfig`, read, completed from the graph and checked against it.

What a configuration leaves out is taken from the graph; what contradicts the graph, or
would change the meaning if it were ignored, keeps the model from loading; what is set
but merely not honoured is named, so that nobody believes in it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import text_format
from google.protobuf.message import Message

from eyespot.server.errors import RepositoryError
from eyespot.server.queueing import QueuePolicy
from eyespot.server.session import GraphTensor
from eyespot.v1 import model_config_pb2
from eyespot.v1.bounded_text import MOST_CONFIG_BYTES, read_bounded
from eyespot.v1.manifest import CONFIG_FILE, MODEL_FILE
from eyespot.v1.tensors import DATATYPES, TensorError, datatype_from_config

# The batch of a model whose configuration says nothing, as Triton completes it.
_DEFAULT_MAX_BATCH_SIZE = 4

_HONOURED = frozenset(
    {
        "name",
        "platform",
        "backend",
        "version_policy",
        "max_batch_size",
        "input.name",
        "input.data_type",
        "input.format",  # tells clients the axis order; the graph takes what it takes
        "input.dims",
        "output.name",
        "output.data_type",
        "output.dims",
        "output.label_filename",
        "dynamic_batching.preferred_batch_size",
        "dynamic_batching.max_queue_delay_microseconds",
        "dynamic_batching.preserve_ordering",
        "dynamic_batching.priority_levels",
        "dynamic_batching.default_priority_level",
        "dynamic_batching.default_queue_policy",
        "dynamic_batching.priority_queue_policy",
        "instance_group.name",
        "instance_group.count",
        "instance_group.gpus",
        "instance_group.kind",
        "optimization.graph.level",
        "default_model_filename",
        "model_warmup",
    }
)
# Keys of `parameters` that Triton's ONNX Runtime backend knows and Eyespot does not.
_UNHONOURED_PARAMETERS = frozenset(
    {
        "arena_extend_strategy",
        "cudnn_conv_algo_search",
        "do_copy_in_default_stream",
        "gpu_mem_limit",
        "memory.enable_memory_arena_shrinkage",
        "session.disable_prepacking",
        "session.use_device_allocator_for_initializers",
    }
)
# Served without these, a model would answer something else than its configuration says.
_REFUSED = frozenset(
    {
        "batch_input",
        "batch_output",
        "ensemble_scheduling",
        "input.allow_ragged_batch",
        "input.is_shape_tensor",
        "input.reshape",
        "model_operations",
        "model_transaction_policy.decoupled",
        "output.is_shape_tensor",
        "output.reshape",
        "sequence_batching",
    }
)


class TensorConfig(NamedTuple):
    """An input or output as requests carry it.

    `shape` includes the batch dimension, as -1, when max_batch_size is above 0. The rest is
    what a manifest knows: the smallest and a usual size of each dimension, and one above the
    largest number of an input of symbols, or 0. BYTES are text, unless they are files.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    label_filename: str = ""
    smallest: tuple[int, ...] = ()
    usual: tuple[int, ...] = ()
    symbols: int = 0
    is_text: bool = True


class DynamicBatching(NamedTuple):
    """How requests wait and are joined; a max_queue_size of 0 leaves it to the server.

    `policies` are those of a priority; the others have `default_policy`.
    """

    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_microseconds: int = 0
    max_queue_size: int = 0
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority_level: int = 0
    default_policy: QueuePolicy = QueuePolicy()
    policies: Mapping[int, QueuePolicy] = {}


class ModelConfig(NamedTuple):
    """The configuration in force, completed and agreeing with the graph.

    `serialized` is the whole completed message, which ModelConfig answers with.
    """

    name: str
    max_batch_size: int
    inputs: tuple[TensorConfig, ...]
    outputs: tuple[TensorConfig, ...]
    dynamic_batching: DynamicBatching | None
    instance_count: int
    parameters: Mapping[str, str]
    serialized: bytes
    unhonoured: tuple[str, ...] = ()


class ConfigFile(NamedTuple):
    """What config.pbtxt says, before the graph is known."""

    message: model_config_pb2.ModelConfig
    sets_max_batch_size: bool

    @property
    def model_filename(self) -> str:
        """The file of a version that holds the graph."""
        name = self.message.default_model_filename or MODEL_FILE
        if Path(name).name != name or "\0" in name:
            raise RepositoryError(f"default_model_filename {name!r} must be a plain file name")
        return name


def read_config(folder: Path) -> ConfigFile | None:
    """Reads a model's config.pbtxt; None when there is none.

    Raises:
        RepositoryError: it cannot be read, or asks for what Eyespot cannot serve.
    """
    path = folder / CONFIG_FILE
    try:
        text = read_bounded(path, most_bytes=MOST_CONFIG_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # those of UTF-8 and of the bound too
        raise RepositoryError(f"{CONFIG_FILE} cannot be read: {error}") from error
    message = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(text, message)
    except (text_format.ParseError, ValueError, RecursionError) as error:
        raise RepositoryError(f"{CONFIG_FILE} is no ModelConfig: {error}") from error
    _check_message(message, folder.name)
    # proto3 cannot tell 0 from absent, and only an absent one may be completed.
    return ConfigFile(message, "max_batch_size" in text)


def parse_config(text: str, folder_name: str) -> ConfigFile:
    """Reads a ModelConfig that came as JSON in place of config.pbtxt.

    Raises:
        RepositoryError: it is none, or asks for what Eyespot cannot serve.
    """
    from google.protobuf import json_format  # not for every start

    if len(text) > MOST_CONFIG_BYTES:
        raise RepositoryError(
            f"the config that was sent is larger than {MOST_CONFIG_BYTES >> 10} KiB"
        )
    message = model_config_pb2.ModelConfig()
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"expected a JSON object, found {type(values).__name__}")
        json_format.ParseDict(values, message)
    except (ValueError, json_format.ParseError, RecursionError) as error:
        raise RepositoryError(f"the config that was sent is no ModelConfig: {error}") from error
    _check_message(message, folder_name)
    return ConfigFile(message, bool({"max_batch_size", "maxBatchSize"} & set(values)))


def empty_config() -> ConfigFile:
    """The configuration of a model that has none: the graph completes it."""
    return ConfigFile(model_config_pb2.ModelConfig(), sets_max_batch_size=False)


def complete(
    file: ConfigFile,
    *,
    name: str,
    inputs: Sequence[GraphTensor],
    outputs: Sequence[GraphTensor],
) -> ModelConfig:
    """Completes a configuration from the graph and checks the one against the other.

    Raises:
        RepositoryError: they contradict each other.
    """
    message = model_config_pb2.ModelConfig()
    message.CopyFrom(file.message)
    message.name = name
    message.platform = message.platform or "onnxruntime_onnx"
    message.backend = message.backend or "onnxruntime"
    message.default_model_filename = file.model_filename
    says_nothing = not (message.input or message.output or file.sets_max_batch_size)
    if says_nothing and _has_batch_dimension([*inputs, *outputs]):
        message.max_batch_size = _DEFAULT_MAX_BATCH_SIZE
        if not message.WhichOneof("scheduling_choice"):
            message.dynamic_batching.SetInParent()
    is_batched = message.max_batch_size > 0
    _complete_tensors(message.input, inputs, is_batched=is_batched)
    _complete_tensors(message.output, outputs, is_batched=is_batched)
    if missing := {tensor.name for tensor in inputs} - {tensor.name for tensor in message.input}:
        raise RepositoryError(f"{CONFIG_FILE} lacks the graph's inputs {sorted(missing)}")
    return ModelConfig(
        name=name,
        max_batch_size=message.max_batch_size,
        inputs=tuple(_read_tensors(message.input, inputs, is_batched=is_batched)),
        outputs=tuple(_read_tensors(message.output, outputs, is_batched=is_batched)),
        dynamic_batching=_read_batching(message),
        instance_count=sum(max(1, group.count) for group in message.instance_group),
        parameters={key: value.string_value for key, value in message.parameters.items()},
        serialized=message.SerializeToString(),
        unhonoured=tuple(sorted(set(_unhonoured(file.message)) - _REFUSED)),
    )


def _check_message(message: model_config_pb2.ModelConfig, folder_name: str) -> None:
    if message.name and message.name != folder_name:
        raise RepositoryError(
            f"{CONFIG_FILE} names the model {message.name!r}, its folder {folder_name!r}"
        )
    runtime = message.platform or message.backend
    if runtime not in ("", "onnxruntime_onnx", "onnxruntime"):
        raise RepositoryError(f"{CONFIG_FILE} asks for {runtime!r}; Eyespot serves onnxruntime")
    if message.max_batch_size < 0:
        raise RepositoryError(f"max_batch_size must be at least 0, not {message.max_batch_size}")
    if refused := sorted(set(_unhonoured(message)) & _REFUSED):
        raise RepositoryError(f"{CONFIG_FILE} sets {', '.join(refused)}, which Eyespot cannot do")
    for size in message.dynamic_batching.preferred_batch_size:
        if not 1 <= size <= message.max_batch_size:
            raise RepositoryError(
                f"preferred_batch_size {size} must be from 1 to max_batch_size "
                f"{message.max_batch_size}"
            )


def _unhonoured(message: Message, prefix: str = "") -> Iterator[str]:
    """Dotted names of the set fields that have no effect here."""
    for descriptor, value in message.ListFields():
        path = prefix + descriptor.name
        if path == "parameters":
            yield from (f"{path}.{key}" for key in _UNHONOURED_PARAMETERS & set(value))
            continue
        if path in _HONOURED:
            continue
        if any(known.startswith(path + ".") for known in _HONOURED | _REFUSED):
            for part in value if descriptor.is_repeated else (value,):
                yield from _unhonoured(part, path + ".")
        else:
            yield path


def _has_batch_dimension(tensors: Sequence[GraphTensor]) -> bool:
    return all(tensor.shape and tensor.shape[0] == -1 for tensor in tensors)


def _complete_tensors(configured: Any, graph: Sequence[GraphTensor], *, is_batched: bool) -> None:
    """Adds the graph's tensors to an empty list, and types and dims where they are missing."""
    if not configured:
        for tensor in graph:
            configured.add(name=tensor.name)
    by_name = {tensor.name: tensor for tensor in graph}
    for entry in configured:
        if entry.name not in by_name:
            raise RepositoryError(
                f"{CONFIG_FILE} names {entry.name!r}, the graph has {sorted(by_name)}"
            )
        tensor = by_name[entry.name]
        if not entry.data_type:
            entry.data_type = DATATYPES[tensor.datatype].config_type
        if not entry.dims:
            entry.dims.extend(tensor.shape[1:] if is_batched else tensor.shape)


def _read_tensors(
    configured: Any, graph: Sequence[GraphTensor], *, is_batched: bool
) -> Iterator[TensorConfig]:
    by_name = {tensor.name: tensor for tensor in graph}
    if len({entry.name for entry in configured}) != len(configured):
        raise RepositoryError(f"{CONFIG_FILE} names a tensor twice")
    for entry in configured:
        tensor = by_name[entry.name]
        try:
            datatype = datatype_from_config(entry.data_type).name
        except TensorError as error:
            raise RepositoryError(f"{CONFIG_FILE}, {entry.name!r}: {error}") from error
        if datatype != tensor.datatype:
            raise RepositoryError(
                f"{CONFIG_FILE} gives {entry.name!r} {datatype}, the graph {tensor.datatype}"
            )
        shape = (-1, *entry.dims) if is_batched else tuple(entry.dims)
        _check_shape(entry.name, shape, tensor.shape, is_batched=is_batched)
        yield TensorConfig(entry.name, datatype, shape, getattr(entry, "label_filename", ""))


def _check_shape(
    name: str, configured: tuple[int, ...], graph: tuple[int, ...], *, is_batched: bool
) -> None:
    if not graph:  # a scalar, or a rank that the graph leaves open: the configuration decides
        return
    if is_batched and graph[0] != -1:
        raise RepositoryError(
            f"max_batch_size is above 0, but the graph fixes the first dimension of {name!r} "
            f"to {graph[0]}; export it with a dynamic batch or set max_batch_size: 0"
        )
    fits = len(configured) == len(graph) and all(
        wanted in (-1, given) or given == -1
        for wanted, given in zip(configured, graph, strict=False)
    )
    if not fits:
        raise RepositoryError(
            f"{CONFIG_FILE} gives {name!r} the shape {list(configured)}, the graph {list(graph)}"
        )


def _read_batching(message: model_config_pb2.ModelConfig) -> DynamicBatching | None:
    if not message.HasField("dynamic_batching") or message.max_batch_size == 0:
        return None
    batching = message.dynamic_batching
    _check_priorities(batching)
    policy = batching.default_queue_policy
    return DynamicBatching(
        preferred_batch_size=tuple(batching.preferred_batch_size),
        max_queue_delay_microseconds=batching.max_queue_delay_microseconds,
        # Without priorities there is one queue, and this is its bound.
        max_queue_size=0 if batching.priority_levels else policy.max_queue_size,
        preserve_ordering=batching.preserve_ordering,
        priority_levels=batching.priority_levels,
        default_priority_level=batching.default_priority_level,
        default_policy=_read_policy(policy)
        if batching.HasField("default_queue_policy")
        else QueuePolicy(),
        policies={
            level: _read_policy(own) for level, own in batching.priority_queue_policy.items()
        },
    )


def _check_priorities(batching: model_config_pb2.ModelDynamicBatching) -> None:
    levels, default = batching.priority_levels, batching.default_priority_level
    if levels and not 1 <= default <= levels:
        raise RepositoryError(
            f"default_priority_level {default} must be from 1 to priority_levels {levels}"
        )
    beyond = [level for level in batching.priority_queue_policy if not 1 <= level <= levels]
    if beyond:
        raise RepositoryError(
            f"priority_queue_policy is of priority {beyond[0]}, priority_levels are {levels}"
        )


def _read_policy(message: model_config_pb2.ModelQueuePolicy) -> QueuePolicy:
    timeout = message.default_timeout_microseconds
    return QueuePolicy(
        timeout_seconds=timeout / 1e6 if timeout else None,
        allow_timeout_override=message.allow_timeout_override,
        delays=message.timeout_action == model_config_pb2.ModelQueuePolicy.DELAY,
        max_queue_size=message.max_queue_size,
    )
