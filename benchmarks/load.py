"""Concurrent clients that send the same request, as bytes, and count the answers.

A process of its own, so that its CPU time is not taken for anybody else's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc

from benchmarks.processes import ServerProcess
from eyespot.v1.services import INFERENCE_SERVICE


@dataclass(frozen=True)
class Load:
    """What a run of clients took, as they saw it."""

    calls: int
    seconds: float
    latency_p50: float
    latency_p99: float


async def generate(port: int, *, request: bytes, clients: int, calls: int) -> Load:
    """Let `clients` call one after another until `calls` are answered; each call must be."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    latencies: list[float] = []
    left = calls

    async def one_client() -> None:
        nonlocal left
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            infer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                f"/{INFERENCE_SERVICE}/ModelInfer"
            )
            while left > 0:
                left -= 1
                began = time.perf_counter()
                await infer(request)
                latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(one_client() for _ in range(clients)))
    seconds = time.perf_counter() - began
    latencies.sort()
    return Load(calls, seconds, latencies[calls // 2], latencies[int(calls * 0.99)])


def under_load(
    server: ServerProcess, request: Path, *, clients: int, calls: int
) -> tuple[Load, float]:
    """Run the clients in their own process; give what they saw and the server's CPU seconds."""
    command = [sys.executable, "-m", "benchmarks.load", str(server.port), str(request)]
    before = server.cpu_seconds()
    ran = subprocess.run(
        [*command, str(clients), str(calls)], check=True, capture_output=True, text=True
    )
    return Load(**json.loads(ran.stdout)), server.cpu_seconds() - before


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("request", type=Path)
    parser.add_argument("clients", type=int)
    parser.add_argument("calls", type=int)
    arguments = parser.parse_args()
    measured = asyncio.run(
        generate(
            arguments.port,
            request=arguments.request.read_bytes(),
            clients=arguments.clients,
            calls=arguments.calls,
        )
    )
    print(json.dumps(asdict(measured)))
