"""`original.pt2`: the captured program written, and opened as the server will open it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import ExportedProgram

from eyespot.exporter.capture import silenced
from eyespot.exporter.errors import OriginalError
from eyespot.saliency.errors import SaliencyError
from eyespot.saliency.torch_backend import TorchBackend, _read


def save_original(program: ExportedProgram, path: Path) -> None:
    """Write a captured program without sample inputs: nothing in it needs unpickling."""
    program.example_inputs = None
    with silenced():
        torch.export.save(program, path)


def open_original(path: Path, *, gradient_node: str) -> TorchBackend:
    """Open a captured program through the server's own door, which refuses pickles and code.

    Raises:
        OriginalError: The file is damaged, holds more than weights and a graph, or has no
            such node for gradients to begin at.
    """
    try:
        return TorchBackend.load(path, gradient_node=gradient_node)
    except SaliencyError as error:
        raise OriginalError(str(error)) from error


def read_program(path: Path) -> ExportedProgram:
    """Read a captured program by the same door, to look at its graph.

    Raises:
        OriginalError: The file is not there, is damaged, or holds more than weights and a graph.
    """
    try:
        return _read(path)
    except SaliencyError as error:
        raise OriginalError(str(error)) from error
