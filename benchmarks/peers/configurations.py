"""Which peers there are, and each way of configuring them that was tried.

Each serves the same graph through ONNX Runtime with one intra-op thread. Access logs, metrics and
whatever else is not needed for an answer are off.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.environments import Environment

Command = list[str | Path]

MAX_BATCH_SIZE = 32
_HERE = Path(__file__).parent
_MLSERVER = Environment("mlserver", ("mlserver==1.7.1",))
# Its Python backend brings an interpreter of its own, which fits the modules of this Python only.
_PYTRITON = Environment("pytriton", ("nvidia-pytriton==0.7.0",), python_version="3.11.2")


@dataclass(frozen=True)
class Place:
    """What a peer is given: its environment, an empty folder, the graph, and two free ports."""

    environment: Path
    folder: Path
    model_name: str
    model_file: Path
    grpc_port: int
    http_port: int


@dataclass(frozen=True)
class Configuration:
    """One way of running a peer.

    Attributes:
        peer: As it is called in tables.
        told: What was configured.
        environment: That it runs in.
        prepare: Writes what it needs, and gives the command that serves until SIGINT.
    """

    peer: str
    told: str
    environment: Environment
    prepare: Callable[[Place], Command]


def _mlserver(*, workers: int, batch_seconds: float) -> Callable[[Place], Command]:
    def prepare(place: Place) -> Command:
        settings = {
            "debug": False, "metrics_endpoint": None, "parallel_workers": workers,
            "host": "127.0.0.1", "grpc_port": place.grpc_port, "http_port": place.http_port,
        }  # fmt: skip
        model = {
            "name": place.model_name, "implementation": "mlserver_model.OnnxModel",
            "max_batch_size": MAX_BATCH_SIZE if batch_seconds else 0,
            "max_batch_time": batch_seconds, "parameters": {"uri": str(place.model_file)},
        }  # fmt: skip
        home = place.folder / place.model_name
        home.mkdir()
        shutil.copy(_HERE / "mlserver_model.py", home)
        (place.folder / "settings.json").write_text(json.dumps(settings))
        (home / "model-settings.json").write_text(json.dumps(model))
        return [place.environment / "bin" / "mlserver", "start", place.folder]

    return prepare


def _triton(script: str, *, delay_microseconds: int) -> Callable[[Place], Command]:
    def prepare(place: Place) -> Command:
        return [
            place.environment / "bin" / "python", _HERE / script,
            place.model_name, place.model_file, "--folder", place.folder,
            "--ports", str(place.grpc_port), str(place.http_port),
            "--rows", str(MAX_BATCH_SIZE), "--delay", str(delay_microseconds),
        ]  # fmt: skip

    return prepare


def _of_mlserver(told: str, *, workers: int, batch_seconds: float) -> Configuration:
    prepare = _mlserver(workers=workers, batch_seconds=batch_seconds)
    return Configuration("MLServer 1.7.1", told, _MLSERVER, prepare)


def _of_triton(told: str, script: str, *, delay_microseconds: int) -> Configuration:
    prepare = _triton(script, delay_microseconds=delay_microseconds)
    return Configuration("Triton with its Python backend", told, _PYTRITON, prepare)


CONFIGURATIONS: Mapping[str, Configuration] = {
    "mlserver": _of_mlserver("model in the server's process", workers=0, batch_seconds=0),
    "mlserver_batching": _of_mlserver(
        "... adaptive batching, 32 requests or 1 ms", workers=0, batch_seconds=0.001
    ),
    "mlserver_worker": _of_mlserver("one parallel worker", workers=1, batch_seconds=0),
    "mlserver_worker_batching": _of_mlserver(
        "... adaptive batching, 32 requests or 1 ms", workers=1, batch_seconds=0.001
    ),
    "pytriton": _of_triton(
        "bound with pytriton 0.7.0, dynamic batching, no delay",
        "pytriton_server.py",
        delay_microseconds=0,
    ),
    "pytriton_delay": _of_triton(
        "... batches wait for 0.5 ms", "pytriton_server.py", delay_microseconds=500
    ),
    "triton": _of_triton(
        "its `model.py`, without pytriton's process, dynamic batching, no delay",
        "triton_server.py",
        delay_microseconds=0,
    ),
    "triton_delay": _of_triton(
        "... batches wait for 0.5 ms", "triton_server.py", delay_microseconds=500
    ),
}
