"""`original.pt2`: the captured program written, and opened through the server's own door."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch.export import ExportedProgram

from eyespot.exporter.capture import silenced
from eyespot.exporter.errors import OriginalError
from eyespot.exporter.parity import Run, run_module
from eyespot.saliency.errors import SaliencyError
from eyespot.saliency.torch_backend import program as captured


def save_original(program: ExportedProgram, path: Path) -> None:
    """Write a captured program without sample inputs: nothing in it needs unpickling.

    Raises:
        OSError: The disk takes no more.
    """
    program.example_inputs = None
    with path.open("wb") as file:
        lenient = _Lenient(file)
        with silenced():
            torch.export.save(program, cast(IO[bytes], lenient))
        if lenient.error is not None:
            raise lenient.error


class _Lenient(io.RawIOBase):
    """A file that keeps its error to itself: PyTorch's writer aborts the process for one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        if self.error is None:
            try:
                self._file.write(content)
                self._file.flush()
            except OSError as error:
                self.error = error
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Does nothing: PyTorch goes back to the beginning when it is done."""
        return 0


def read_program(path: Path) -> ExportedProgram:
    """Read a captured program through the server's own door, which refuses pickles and code.

    Raises:
        OriginalError: The file is not there, is damaged, or holds more than weights and a graph.
    """
    try:
        return captured.read_program(path)
    except SaliencyError as error:
        raise OriginalError(str(error)) from error


def open_original(path: Path, *, gradient_node: str | None) -> Run:
    """Read a captured program and make a function on arrays of it.

    Raises:
        OriginalError: It cannot be read, or has no such node for gradients to begin at.
    """
    program = read_program(path)
    if gradient_node is not None:
        _check_gradient_node(program, gradient_node)
    with silenced():
        return run_module(program.module())


def _check_gradient_node(program: ExportedProgram, gradient_node: str) -> None:
    node = next((node for node in program.graph.nodes if node.name == gradient_node), None)
    if node is None or not node.meta["val"].is_floating_point():
        raise OriginalError(
            f"the captured program has no values to differentiate at {gradient_node!r}"
        )
