"""Which peers there are, and each way of configuring them that was tried.

Each serves the same graph through ONNX Runtime with one intra-op thread. Access logs and metrics
are off, but for MLServer's defaults.
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
# With a later uvloop its parallel workers do not start.
_MLSERVER = Environment("mlserver", ("mlserver==1.7.1", "uvloop==0.21.0"))
# Its Python backend brings an interpreter of its own, which fits the modules of this Python only.
_PYTRITON = Environment("pytriton", ("nvidia-pytriton==0.7.0",), python_version="3.11.2")


@dataclass(frozen=True)
class Place:
    """What a peer is given: its environment, an empty folder, the graph, and free ports."""

    environment: Path
    folder: Path
    model_name: str
    model_file: Path
    grpc_port: int
    http_port: int
    metrics_port: int


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


def _mlserver(
    told: str, settings: Mapping[str, object], *, batch_seconds: float = 0.0
) -> Configuration:
    def prepare(place: Place) -> Command:
        model = {
            "name": place.model_name, "implementation": "mlserver_model.OnnxModel",
            "max_batch_size": MAX_BATCH_SIZE if batch_seconds else 0,
            "max_batch_time": batch_seconds, "parameters": {"uri": str(place.model_file)},
        }  # fmt: skip
        ports = {
            "grpc_port": place.grpc_port, "http_port": place.http_port,
            "metrics_port": place.metrics_port,
        }  # fmt: skip
        home = place.folder / place.model_name
        home.mkdir()
        shutil.copy(_HERE / "mlserver_model.py", home)
        (home / "model-settings.json").write_text(json.dumps(model))
        (place.folder / "settings.json").write_text(
            json.dumps({"host": "127.0.0.1", **ports, **settings})
        )
        return [place.environment / "bin" / "mlserver", "start", place.folder]

    return Configuration("MLServer 1.7.1", told, _MLSERVER, prepare)


def _triton(told: str, script: str, *, delay_microseconds: int) -> Configuration:
    def prepare(place: Place) -> Command:
        return [
            place.environment / "bin" / "python", _HERE / script,
            place.model_name, place.model_file, "--folder", place.folder,
            "--ports", str(place.grpc_port), str(place.http_port),
            "--rows", str(MAX_BATCH_SIZE), "--delay", str(delay_microseconds),
        ]  # fmt: skip

    return Configuration("Triton with its Python backend", told, _PYTRITON, prepare)


_LEAN = {"debug": False, "metrics_endpoint": None, "parallel_workers": 0}
_BATCHING = "adaptive batching of 32 requests or 1 ms"
_BOUND = "a function bound with pytriton 0.7.0, dynamic batching"
_FILE = "a `model.py` without pytriton around it, dynamic batching"

CONFIGURATIONS: Mapping[str, Configuration] = {
    "mlserver_defaults": _mlserver("its defaults: one parallel worker, metrics, access log", {}),
    "mlserver": _mlserver("no parallel worker", _LEAN),
    "mlserver_batching": _mlserver(f"no parallel worker, {_BATCHING}", _LEAN, batch_seconds=0.001),
    "mlserver_worker": _mlserver("one parallel worker", {**_LEAN, "parallel_workers": 1}),
    "mlserver_worker_batching": _mlserver(
        f"one parallel worker, {_BATCHING}", {**_LEAN, "parallel_workers": 1}, batch_seconds=0.001
    ),
    "pytriton": _triton(_BOUND, "pytriton_server.py", delay_microseconds=0),
    "pytriton_delay": _triton(
        f"{_BOUND}, delay of 0.5 ms", "pytriton_server.py", delay_microseconds=500
    ),
    "triton": _triton(_FILE, "triton_server.py", delay_microseconds=0),
    "triton_delay": _triton(
        f"{_FILE}, delay of 0.5 ms", "triton_server.py", delay_microseconds=500
    ),
}
