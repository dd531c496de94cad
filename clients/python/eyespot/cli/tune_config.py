"""`config.pbtxt` with other settings of how the model is run; everything else stays."""

from __future__ import annotations

import difflib
import os
import tempfile
from pathlib import Path

from google.protobuf import text_format

from eyespot.cli.tune_search import Setting
from eyespot.v1.model_config_pb2 import ModelConfig

_THREADS = "intra_op_thread_count"


def setting_of(config: ModelConfig, *, default_sessions: int, default_threads: int) -> Setting:
    """Read how a model is run now.

    Args:
        config: Of the model.
        default_sessions: Of the server, where the configuration says nothing.
        default_threads: The same.
    """
    sessions = sum(max(1, group.count) for group in config.instance_group)
    threads = config.parameters[_THREADS].string_value if _THREADS in config.parameters else ""
    return Setting(
        sessions or default_sessions,
        int(threads or default_threads),
        config.max_batch_size,
        config.dynamic_batching.max_queue_delay_microseconds,
    )


def tuned(config: ModelConfig, setting: Setting) -> ModelConfig:
    """Copy a configuration, with another setting.

    Several instance groups become one, of the first one's kind and devices.
    """
    copy = ModelConfig()
    copy.CopyFrom(config)
    if not copy.instance_group:
        copy.instance_group.add()
    del copy.instance_group[1:]
    copy.instance_group[0].count = setting.sessions
    copy.parameters[_THREADS].string_value = str(setting.threads)
    copy.max_batch_size = setting.max_batch_size
    if setting.max_batch_size:
        copy.dynamic_batching.max_queue_delay_microseconds = setting.delay_microseconds
    return copy


def config_text(config: ModelConfig) -> str:
    """Write a configuration as `config.pbtxt` has it."""
    return text_format.MessageToString(config, as_utf8=True)


def config_diff(path: Path, text: str) -> str:
    """Tell line by line what would change in a file; empty where nothing does."""
    lines = difflib.unified_diff(
        path.read_text(encoding="utf-8").splitlines(keepends=True),
        text.splitlines(keepends=True),
        f"{path.name} as it is",
        f"{path.name} tuned",
    )
    return "".join(lines)


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, with the rights that it has.

    Raises:
        OSError: The folder cannot be written to, or the disk is full; the file is as it was.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), path.stat().st_mode & 0o7777)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
