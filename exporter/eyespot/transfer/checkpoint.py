"""A module's weights on disk: safetensors, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from eyespot.transfer.atomic_files import replacing
from eyespot.transfer.errors import CheckpointError


def save_weights(module: nn.Module, path: Path, *, training: Mapping[str, str]) -> None:
    """Write a module's state_dict; who reads the file meanwhile sees the old one or the new one.

    Args:
        module: Whose parameters and buffers are written.
        path: The file; its folder is made.
        training: How the weights came about, kept in the file's header.

    Raises:
        CheckpointError: The file cannot be written.
    """
    write_tensors(module.state_dict(), path, notes=training)


def write_tensors(tensors: Mapping[str, Tensor], path: Path, *, notes: Mapping[str, str]) -> None:
    """Write tensors by name, and notes into the file's header; whole or not at all.

    Raises:
        CheckpointError: The file cannot be written; what was there before is there still.
    """
    state = {name: value.detach().contiguous() for name, value in tensors.items()}
    try:
        with replacing(path) as written:
            save_file(state, written, metadata=dict(notes))
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path} cannot be written: {reason}") from error
