"""`make bench`: what serving costs over ONNX Runtime and over gRPC alone.

In each round, one after another on the same machine: (a) ONNX Runtime in process at its best
sessions, threads and batch (for speed, and for CPU time), (b) a bare grpc.aio server that
answers the same bytes unread, (c) `eyespot serve`. Only ratios are printed: absolute times
mean nothing on shared machines.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import numpy as np

from benchmarks.in_process import InProcess, Pace
from benchmarks.load import Load, under_load
from benchmarks.processes import ServerProcess, running
from eyespot.exporter import export_zoo_model
from eyespot.v1 import inference_pb2
from eyespot.v1.services import INFERENCE_SERVICE


@dataclass(frozen=True)
class Workload:
    """One model and the clients that call it, one row per call."""

    model_name: str
    row_shape: tuple[int, ...]
    clients: int
    calls: int
    bars: Mapping[str, str]


@dataclass(frozen=True)
class Round:
    """One measurement of (a), (b) and (c)."""

    in_process: Pace
    bare: tuple[Load, float]
    served: tuple[Load, float]
    calls: int

    def cpu_against_sum(self) -> float:
        """CPU per image of (c), over (a) and (b) together."""
        return self._cpu(self.served) / (self.in_process.cpu_seconds + self._cpu(self.bare))

    def cpu_against_bare(self) -> float:
        """CPU per call of (c), over (b)."""
        return self._cpu(self.served) / self._cpu(self.bare)

    def throughput(self) -> float:
        """Images per second of (c), over (a)."""
        return self.calls / self.served[0].seconds * self.in_process.seconds

    def _cpu(self, measured: tuple[Load, float]) -> float:
        return measured[1] / self.calls


CPU_AGAINST_SUM = "CPU per image, (c) / ((a) + (b))"
CPU_AGAINST_BARE = "CPU per call, (c) / (b)"
THROUGHPUT = "images per second, (c) / (a)"
RATIOS = {
    CPU_AGAINST_SUM: Round.cpu_against_sum,
    CPU_AGAINST_BARE: Round.cpu_against_bare,
    THROUGHPUT: Round.throughput,
}

WORKLOADS = {
    "mobilenet_v2": Workload(
        "mobilenet_v2",
        (3, 224, 224),
        clients=8,
        calls=400,
        bars={CPU_AGAINST_SUM: "at most 1.3", THROUGHPUT: "at least 0.7"},
    ),
    "lenet5": Workload(
        "lenet5", (1, 32, 32), clients=32, calls=6000, bars={CPU_AGAINST_BARE: "at most 2.0"}
    ),
}


def measure(workload: Workload, rounds: int, folder: Path) -> list[Round]:
    """Export the model, start both servers, and measure round by round."""
    result = export_zoo_model(
        workload.model_name, repository=folder / "repository", preprocessing="none"
    )
    row = np.random.default_rng(0).random((1, *workload.row_shape), np.float32)
    request = folder / "request"
    request.write_bytes(request_of(workload.model_name, row))
    calls = workload.calls
    in_process = InProcess(result.path / "model.onnx", row, images=calls)
    print(f"{workload.model_name}: (a) is fastest with {in_process.fastest}")
    print(f"{workload.model_name}: (a) is most frugal with {in_process.most_frugal}")
    with ExitStack() as stack:
        served = stack.enter_context(
            running("eyespot.cli", ["serve", folder / "repository", "--port", "0"])
        )
        answer = folder / "answer"
        answer.write_bytes(_ask(served, request.read_bytes()))
        bare = stack.enter_context(running("benchmarks.bare_server", [answer]))
        for server in (bare, served):
            under_load(server, request, clients=workload.clients, calls=max(64, calls // 10))
        return [
            Round(
                in_process.measure(),
                under_load(bare, request, clients=workload.clients, calls=calls),
                under_load(served, request, clients=workload.clients, calls=calls),
                calls,
            )
            for _ in range(rounds)
        ]


def request_of(model_name: str, row: np.ndarray) -> bytes:
    """One row for the input of a model, as bytes."""
    tensor = inference_pb2.ModelInferRequest.InferInputTensor(
        name="input", datatype="FP32", shape=row.shape
    )
    request = inference_pb2.ModelInferRequest(
        model_name=model_name, inputs=[tensor], raw_input_contents=[row.tobytes()]
    )
    return request.SerializeToString()


def _ask(server: ServerProcess, request: bytes) -> bytes:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/{INFERENCE_SERVICE}/ModelInfer"
        )
        return infer(request)


def report(name: str, rounds: list[Round], bar: str) -> None:
    """Print the median of a ratio over the rounds, its range, and what it should be."""
    values = sorted(map(RATIOS[name], rounds))
    print(
        f"  {name:<34} {statistics.median(values):5.2f}   "
        f"({values[0]:.2f} to {values[-1]:.2f}; {bar})"
    )


def main() -> None:
    """Measure every workload and print its ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=WORKLOADS)
    arguments = parser.parse_args()
    for name, workload in WORKLOADS.items():
        if arguments.only in (None, name):
            with TemporaryDirectory() as folder:
                rounds = measure(workload, arguments.rounds, Path(folder))
            print(f"{name}, {workload.clients} clients, one row per call:")
            for ratio, bar in workload.bars.items():
                report(ratio, rounds, bar)


if __name__ == "__main__":
    main()
