"""What `config.pbtxt` says of a model's session: Triton's instance groups and parameters.

The parameters are those of Triton's ONNX Runtime backend, with its numbers. What the
configuration leaves open is the server's setting.
"""

from collections.abc import Callable, Mapping
from typing import Any

from eyespot.server.errors import RepositoryError
from eyespot.server.session import SessionSettings
from eyespot.v1 import model_config_pb2

_GROUP = model_config_pb2.ModelInstanceGroup
_MOST_THREADS = 1024
# optimization.graph.level of Triton's backend.
_LEVELS = {0: "all", -1: "basic", 1: "extended", 2: "none"}


def read_session_settings(
    message: model_config_pb2.ModelConfig, defaults: SessionSettings
) -> SessionSettings:
    """Completes the server's settings with those of one model.

    Raises:
        RepositoryError: a value is impossible, or asks for a device that the server does
            not use.
    """
    settings = _on_its_device(message, defaults)
    values = {name: value.string_value for name, value in message.parameters.items()}
    changes = {
        field: _read(values, name, read)
        for name, (field, read) in _PARAMETERS.items()
        if name in values
    }
    if message.optimization.HasField("graph"):
        level = message.optimization.graph.level
        if level not in _LEVELS:
            raise RepositoryError(
                f"optimization.graph.level {level} is none of {', '.join(map(str, _LEVELS))}"
            )
        changes["optimization"] = _LEVELS[level]
    return settings._replace(**changes)


def _on_its_device(
    message: model_config_pb2.ModelConfig, defaults: SessionSettings
) -> SessionSettings:
    kinds = {group.kind for group in message.instance_group} - {_GROUP.KIND_AUTO}
    gpus = {gpu for group in message.instance_group for gpu in group.gpus}
    if len(kinds) > 1 or len(gpus) > 1:
        raise RepositoryError(
            "instance_group asks for several kinds or devices; a model has sessions on one"
        )
    if kinds == {_GROUP.KIND_MODEL}:
        raise RepositoryError("instance_group asks for KIND_MODEL, which no ONNX model has")
    if kinds == {_GROUP.KIND_CPU}:
        return defaults._replace(device="cpu")
    if (kinds or gpus) and defaults.device != "cuda":
        raise RepositoryError(
            "instance_group asks for a GPU; start the server with --device cuda, or leave it out"
        )
    return defaults._replace(device_id=gpus.pop()) if gpus else defaults


def _read(values: Mapping[str, str], name: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(values[name])
    except ValueError:
        raise RepositoryError(f"the parameter {name} cannot be {values[name]!r}") from None


def _threads(text: str) -> int:
    number = int(text)
    if not 0 <= number <= _MOST_THREADS:
        raise ValueError(text)
    return number


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(text)
    return text == "1"


# The field that each parameter sets, and how it is read; 0 threads leave it to the runtime.
_PARAMETERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "intra_op_thread_count": ("intra_op_num_threads", _threads),
    "inter_op_thread_count": ("inter_op_num_threads", _threads),
    "execution_mode": ("is_parallel", _flag),
    "enable_mem_arena": ("enable_cpu_mem_arena", _flag),
    "enable_mem_pattern": ("enable_mem_pattern", _flag),
}
