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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc

from benchmarks.processes import ServerProcess
from eyespot.v1 import inference_pb2
from eyespot.v1.services import INFERENCE_SERVICE

Call = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Load:
    """What a run of clients took, as they saw it; `cpu_seconds` are their own."""

    calls: int
    seconds: float
    latency_p50: float
    latency_p99: float
    cpu_seconds: float

    @property
    def calls_per_second(self) -> float:
        """Answers per second, of all clients together."""
        return self.calls / self.seconds


async def generate(
    port: int, *, request: bytes, clients: int, calls: int, is_stream: bool = False
) -> Load:
    """Let `clients` call one after another until `calls` are answered; each call must be.

    Args:
        port: Of the server, on this machine.
        request: A ModelInferRequest.
        clients: Each with a connection of its own.
        calls: Of all clients together.
        is_stream: Whether each client sends its requests over one ModelStreamInfer.
    """
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    opening = _streamed if is_stream else _called
    latencies: list[float] = []
    left = calls

    async def one_client() -> None:
        nonlocal left
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel,
            opening(channel) as call,
        ):
            while left > 0:
                left -= 1
                began = time.perf_counter()
                await call(request)
                latencies.append(time.perf_counter() - began)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one_client() for _ in range(clients)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    latencies.sort()
    return Load(calls, seconds, latencies[calls // 2], latencies[int(calls * 0.99)], cpu)


@asynccontextmanager
async def _called(channel: grpc.aio.Channel) -> AsyncIterator[Call]:
    infer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        f"/{INFERENCE_SERVICE}/ModelInfer"
    )

    async def call(request: bytes) -> None:
        await infer(request)

    yield call


@asynccontextmanager
async def _streamed(channel: grpc.aio.Channel) -> AsyncIterator[Call]:
    infer: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
        f"/{INFERENCE_SERVICE}/ModelStreamInfer"
    )
    stream = infer()

    async def call(request: bytes) -> None:
        await stream.write(request)
        answer = await stream.read()
        if not isinstance(answer, bytes):
            raise RuntimeError(f"the stream ended: {await stream.details()}")
        # Unlike a call's, an error is a message like another one here.
        if error := inference_pb2.ModelStreamInferResponse.FromString(answer).error_message:
            raise RuntimeError(error)

    yield call
    await stream.done_writing()


def under_load(
    server: ServerProcess, request: Path, *, clients: int, calls: int, is_stream: bool = False
) -> tuple[Load, float]:
    """Run the clients in their own process; give what they saw and the server's CPU seconds."""
    command = [sys.executable, "-m", "benchmarks.load", str(server.port), str(request)]
    command += [str(clients), str(calls), *(["--stream"] if is_stream else [])]
    before = server.cpu_seconds()
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Load(**json.loads(ran.stdout)), server.cpu_seconds() - before


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("request", type=Path)
    parser.add_argument("clients", type=int)
    parser.add_argument("calls", type=int)
    parser.add_argument("--stream", action="store_true")
    arguments = parser.parse_args()
    measured = asyncio.run(
        generate(
            arguments.port,
            request=arguments.request.read_bytes(),
            clients=arguments.clients,
            calls=arguments.calls,
            is_stream=arguments.stream,
        )
    )
    print(json.dumps(asdict(measured)))
