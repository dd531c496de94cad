"""What every part needs: a model in a repository, a request for it, and both servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks.load import Load, under_load
from benchmarks.processes import ServerProcess, running
from eyespot.v1 import inference_pb2
from eyespot.v1.services import INFERENCE_SERVICE

Row = NDArray[np.float32]

# Options of every server: a free port, and no lines among the figures.
QUIETLY = ("--port", "0", "--log-level", "warning")


@dataclass(frozen=True)
class Stage:
    """(b), a bare gRPC server, and (c), `eyespot serve`, which answer one request alike."""

    bare: ServerProcess
    served: ServerProcess
    request: Path
    model_file: Path
    row: Row


@dataclass(frozen=True)
class Measured:
    """What clients saw of a server, and what it took."""

    load: Load
    server_cpu_seconds: float

    @property
    def cpu_per_call(self) -> float:
        """CPU seconds of the server for one call."""
        return self.server_cpu_seconds / self.load.calls


def measure(
    server: ServerProcess, request: Path, *, clients: int, calls: int, is_stream: bool = False
) -> Measured:
    """Let clients call, and count."""
    return Measured(*under_load(server, request, clients=clients, calls=calls, is_stream=is_stream))


@contextmanager
def staged(
    model_name: str, row_shape: Sequence[int], folder: Path, *, options: Sequence[str] = ()
) -> Iterator[Stage]:
    """Export a network of the zoo, and start both servers.

    Args:
        model_name: In the zoo.
        row_shape: Of one row of its input, without the rows.
        folder: For what is made on the way.
        options: Further ones of `eyespot serve`.
    """
    from eyespot.exporter import export_zoo_model  # PyTorch takes seconds to load

    repository = folder / model_name
    result = export_zoo_model(model_name, repository=repository, preprocessing="none")
    row = np.random.default_rng(0).random((1, *row_shape), np.float32)
    request = folder / f"{model_name}.request"
    request.write_bytes(request_of(model_name, row))
    serve = ["serve", str(repository), *QUIETLY, "--explain", "off", *options]
    with running("eyespot.cli", serve) as served:
        answer = folder / f"{model_name}.answer"
        answer.write_bytes(ask(served, request.read_bytes()))
        with running("benchmarks.bare_server", [answer]) as bare:
            yield Stage(bare, served, request, result.path / "model.onnx", row)


def request_of(model_name: str, rows: NDArray[np.generic]) -> bytes:
    """Rows for the input of a model, as bytes."""
    tensor = inference_pb2.ModelInferRequest.InferInputTensor(
        name="input", datatype="FP32", shape=rows.shape
    )
    request = inference_pb2.ModelInferRequest(
        model_name=model_name, inputs=[tensor], raw_input_contents=[rows.tobytes()]
    )
    return request.SerializeToString()


def ask(server: ServerProcess, request: bytes, method: str = "ModelInfer") -> bytes:
    """Make one call, of bytes."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/{INFERENCE_SERVICE}/{method}"
        )
        return call(request)
