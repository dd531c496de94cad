"""LeNet-5, whose session is next to nothing: what a call costs beside a bare gRPC server."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.serving.ratios import Bar, Ratio
from benchmarks.serving.stage import measure, request_of, staged

_MODEL = "lenet5"
_ROW_SHAPE = (1, 32, 32)
_CLIENTS = 32
_CALLS = 6000
_CALLS_OF_ONE_CLIENT = 1500
_MANY_ROWS = 32
_CALLS_OF_MANY_ROWS = 800
_WARM_UP_CALLS = 600


def lenet5(rounds: int, folder: Path) -> list[Ratio]:
    """Calls of one row, from many clients and from one; calls of many rows."""
    cpu, latency, rows = [], [], []
    with staged(_MODEL, _ROW_SHAPE, folder) as stage:
        many = folder / "many_rows.request"
        many.write_bytes(request_of(_MODEL, np.repeat(stage.row, _MANY_ROWS, axis=0)))
        for server in (stage.bare, stage.served):
            measure(server, stage.request, clients=_CLIENTS, calls=_WARM_UP_CALLS)
        for _ in range(rounds):
            bare, served = (
                measure(server, stage.request, clients=_CLIENTS, calls=_CALLS)
                for server in (stage.bare, stage.served)
            )
            cpu.append(served.cpu_per_call / bare.cpu_per_call)
            full = measure(stage.served, many, clients=_CLIENTS, calls=_CALLS_OF_MANY_ROWS)
            rows.append(_MANY_ROWS * full.load.calls_per_second / served.load.calls_per_second)
            bare, served = (
                measure(server, stage.request, clients=1, calls=_CALLS_OF_ONE_CLIENT)
                for server in (stage.bare, stage.served)
            )
            latency.append(served.load.latency_p50 / bare.load.latency_p50)
    return [
        Ratio(
            f"LeNet-5, one row per call, {_CLIENTS} clients: CPU per call, (c) / (b)",
            tuple(cpu),
            Bar(1.5),
        ),
        Ratio("LeNet-5, one client: p50, (c) / (b)", tuple(latency), Bar(1.4)),
        Ratio(
            f"LeNet-5, {_CLIENTS} clients: rows per second, {_MANY_ROWS} rows per call / one",
            tuple(rows),
            Bar(6.0, is_floor=True),
        ),
    ]


def stream(rounds: int, folder: Path) -> list[Ratio]:
    """Rows over ModelStreamInfer, a stream for each client, one row after another."""
    cpu = []
    with staged(_MODEL, _ROW_SHAPE, folder) as stage:
        servers = (stage.bare, stage.served)
        for server in servers:
            measure(server, stage.request, clients=_CLIENTS, calls=_WARM_UP_CALLS, is_stream=True)
        for _ in range(rounds):
            bare, served = (
                measure(server, stage.request, clients=_CLIENTS, calls=_CALLS, is_stream=True)
                for server in servers
            )
            cpu.append(served.cpu_per_call / bare.cpu_per_call)
    name = f"LeNet-5, ModelStreamInfer, {_CLIENTS} streams: CPU per row, (c) / (b) that streams"
    return [Ratio(name, tuple(cpu), Bar(1.5))]
