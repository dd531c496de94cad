"""`make bench-edge`: what serving on a small box costs over a script with ONNX Runtime alone.

In each round, one after another on the same machine: (a) a script that loads MobileNetV2 and
answers one row, (b) `eyespot serve --explain off` (on a small box there is no PyTorch), (c) the
same with `--low-memory`. Each is a process of its own: from its start to its first answer, idle,
and under load. One table with the bars; the absolute times in it mean little on shared machines.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import numpy as np

from benchmarks.install_size import installed_bytes, pip_bytes
from benchmarks.load import under_load
from benchmarks.processes import ServerProcess
from eyespot.exporter import export_zoo_model
from eyespot.v1 import inference_pb2
from eyespot.v1.manifest import MANIFEST_FILE, read_manifest
from eyespot.v1.services import INFERENCE_SERVICE
from eyespot.v1.tensors import DATATYPES

_MODEL, _CLIENTS = "mobilenet_v2", 4
_ALONE = ("onnxruntime", "grpcio", "protobuf", "numpy")
_MIB = 1 << 20


@dataclass(frozen=True)
class Run:
    """What one process took; memory in MiB."""

    start_seconds: float
    start_cpu_seconds: float
    idle_memory: float
    loaded_memory: float
    idle_cpu_share: float


@dataclass(frozen=True)
class Plan:
    """What every run is measured with."""

    repository: Path
    request: Path
    calls: int
    idle_seconds: float
    compiled: Path

    @property
    def environment(self) -> dict[str, str]:
        """With all code compiled before, as pip leaves it."""
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        return {**kept, "PYTHONPYCACHEPREFIX": str(self.compiled)}

    @property
    def model(self) -> Path:
        """The graph."""
        return self.repository / _MODEL / "1" / "model.onnx"


def run_script(plan: Plan) -> Run:
    """Measure the script."""
    command = [sys.executable, "-m", "benchmarks.bare_script", str(plan.model)]
    began = time.perf_counter()
    with _process(command, plan) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        seconds = time.perf_counter() - began

        def load() -> None:
            assert process.stdout is not None
            assert process.stdin is not None
            process.stdin.write(f"{plan.calls}\n".encode())
            process.stdin.flush()
            process.stdout.readline()

        return _measure(ServerProcess(process.pid, 0), seconds, load, plan)


def run_server(plan: Plan, *flags: str) -> Run:
    """Measure the server."""
    with TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        command = [sys.executable, "-m", "eyespot.cli", "serve", str(plan.repository)]
        command += ["--port", "0", "--port-file", str(port_file), "--explain", "off"]
        command += ["--log-level", "error", *flags]
        began = time.perf_counter()
        with _process(command, plan) as process:
            while not port_file.exists():
                if process.poll() is not None:
                    raise RuntimeError(f"the server ended with {process.returncode}")
                time.sleep(0.002)
            server = ServerProcess(process.pid, int(port_file.read_text()))
            _ask(server, plan.request.read_bytes())
            seconds = time.perf_counter() - began

            def load() -> None:
                under_load(server, plan.request, clients=_CLIENTS, calls=plan.calls)

            return _measure(server, seconds, load, plan)


def _measure(process: ServerProcess, seconds: float, load: Callable[[], None], plan: Plan) -> Run:
    at_start = process.cpu_seconds()
    time.sleep(plan.idle_seconds)
    idle_share = (process.cpu_seconds() - at_start) / plan.idle_seconds
    idle = _resident(process.pid)
    load()
    return Run(seconds, at_start, idle, _resident(process.pid), idle_share)


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (told,) = [line for line in lines if line.startswith("VmRSS:")]
    return int(told.split()[1]) / 1024  # KiB -> MiB


@contextmanager
def _process(command: Sequence[str], plan: Plan) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=plan.environment
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def _ask(server: ServerProcess, request: bytes) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/{INFERENCE_SERVICE}/ModelInfer"
        )
        infer(request)


def write_request(repository: Path, path: Path) -> Path:
    """Write one row of zeros for the model's input."""
    (given,) = read_manifest(repository / _MODEL / "1" / MANIFEST_FILE).inputs
    shape = [1, *(int(size) for size in given.shape[1:])]
    zeros = np.zeros(shape, DATATYPES[given.datatype].numpy)
    tensor = inference_pb2.ModelInferRequest.InferInputTensor(
        name=given.name, datatype=given.datatype, shape=shape
    )
    request = inference_pb2.ModelInferRequest(
        model_name=_MODEL, inputs=[tensor], raw_input_contents=[zeros.tobytes()]
    )
    path.write_bytes(request.SerializeToString())
    return path


def table(rounds: Sequence[tuple[Run, Run, Run]], install: tuple[float, float]) -> list[str]:
    """Put the medians side by side, with each bar and whether it is met."""

    def middle(column: int, name: str) -> float:
        return float(statistics.median(getattr(each[column], name) for each in rounds))

    def ratio(name: str) -> float:
        return float(statistics.median(getattr(b, name) / getattr(a, name) for a, b, _ in rounds))

    alone, ours = install
    more = middle(1, "idle_memory") - middle(0, "idle_memory")
    share = middle(1, "idle_cpu_share")
    start, cpu = ratio("start_seconds"), ratio("start_cpu_seconds")
    rows = [
        ("install, MiB", f"{alone:.0f}", f"{ours:.0f}", "", "(b) / (a)", ours / alone, 1.25),
        _row(rounds, "first answer, s", "start_seconds", "(b) / (a)", start, 1.5),
        _row(rounds, "... processor, s", "start_cpu_seconds", "(b) / (a)", cpu, 1.5),
        _row(rounds, "idle memory, MiB", "idle_memory", "(b) - (a)", more, 40),
        _row(rounds, "loaded memory, MiB", "loaded_memory", "(b) - (a)", None, None),
        _row(rounds, "idle processor, %", "idle_cpu_share", "(b)", share * 100, 0.5, scale=100),
    ]
    told = [
        f"{'':<20}{'(a) script':>12}{'(b) serve':>12}{'(c) low':>12}   what is held against the bar"
    ]
    for name, first, second, third, what, value, bar in rows:
        verdict = ""
        if value is not None and bar is not None:
            met = "met" if value <= bar else "missed"
            verdict = f"{what} {value:.2f}, at most {bar:g}: {met}"
        told.append(f"{name:<20}{first:>12}{second:>12}{third:>12}   {verdict}".rstrip())
    return told


_Row = tuple[str, str, str, str, str, float | None, float | None]


def _row(
    rounds: Sequence[tuple[Run, Run, Run]],
    title: str,
    name: str,
    what: str,
    value: float | None,
    bar: float | None,
    *,
    scale: float = 1,
) -> _Row:
    first, second, third = (
        f"{statistics.median(getattr(each[column], name) for each in rounds) * scale:.2f}"
        for column in range(3)
    )
    return title, first, second, third, what, value, bar


def main() -> None:
    """Measure round by round, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repository", type=Path, help=f"that has {_MODEL}; exported if absent")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=100, help="of the load")
    parser.add_argument("--idle-seconds", type=float, default=5.0)
    parser.add_argument("--pip", action="store_true", help="install into empty folders to weigh")
    parser.add_argument("--no-model-cache", action="store_true", help="load as the first time")
    options = parser.parse_args()
    weigh = pip_bytes if options.pip else installed_bytes
    install = weigh(_ALONE) / _MIB, weigh(["eyespot[serve]"]) / _MIB
    with TemporaryDirectory() as folder:
        repository = options.repository or Path(folder) / "repository"
        if not options.repository:
            export_zoo_model(_MODEL, repository=repository)
        request = write_request(repository, Path(folder) / "request")
        compiled = Path(folder) / "compiled"
        plan = Plan(repository, request, options.calls, options.idle_seconds, compiled)
        cache = "off" if options.no_model_cache else f"{folder}/cache"
        first = replace(plan, calls=1, idle_seconds=0.01)
        run_script(first)  # the first start compiles, and fills the cache
        run_server(first, "--model-cache", cache)
        rounds = [
            (
                run_script(plan),
                run_server(plan, "--model-cache", cache),
                run_server(plan, "--model-cache", cache, "--low-memory"),
            )
            for _ in range(options.rounds)
        ]
    print(f"{_MODEL}, {options.rounds} rounds, medians:")
    print(*table(rounds, install), sep="\n")


if __name__ == "__main__":
    main()
