"""What a greedy caller costs a modest one: the modest one's p99 beside it, over its p99 alone.

The modest caller sends one row after another; the greedy one keeps many calls under way, from a
process of its own. Both have tokens. Measured as the server is out of the box, with batches that
do not pay too (as `preferred_batch_size` asks for), and with `--max-requests-per-second` at twice
what the modest one sends; the servers take turns in each round.

Beside time, the processor time that the server spends from the call to its answer is told: on a
machine with other work it is the steadier of both. Alone, a call's work is done on one core, beside
the greedy one the server works on all of them: so it is divided by those, and is then what the
ratio would be if nobody else wanted the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import numpy as np

from benchmarks.processes import ServerProcess, running
from benchmarks.serving.stage import request_of
from eyespot.exporter import export_zoo_model
from eyespot.v1.services import INFERENCE_SERVICE

_MODEST_PER_SECOND = 40
_BOUND_PER_SECOND = 2 * _MODEST_PER_SECOND
_ROW_SHAPES = {"mobilenet_v2": (3, 224, 224), "lenet5": (1, 32, 32)}
TOKENS = {"greedy": "g" * 32, "modest": "m" * 32}


async def hold(port: int, request: bytes, *, under_way: int) -> None:
    """Be the greedy caller, until killed; say so once the server is full of its calls."""
    answered = itertools.count(1)

    async def call_again_and_again() -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            while True:
                try:
                    await _call(channel, "greedy", request)
                    if next(answered) == under_way:
                        print("full", flush=True)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.01)  # refused: even the greedy ones breathe

    await asyncio.gather(*(call_again_and_again() for _ in range(under_way)))


@dataclass(frozen=True)
class Wait:
    """The 99th percentile of what one call takes."""

    seconds: float
    server_seconds: float  # processor time of the server


async def p99(server: ServerProcess, request: bytes, calls: int) -> Wait:
    """Be the modest caller: what 99 of 100 calls took at most."""
    seconds, server_seconds = [], []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        for _ in range(calls):
            began, worked = time.perf_counter(), server.cpu_seconds()
            await _call(channel, "modest", request)
            seconds.append(time.perf_counter() - began)
            server_seconds.append(server.cpu_seconds() - worked)
            await asyncio.sleep(1 / _MODEST_PER_SECOND)
    last = int(calls * 0.99)
    return Wait(sorted(seconds)[last], sorted(server_seconds)[last])


async def _call(channel: grpc.aio.Channel, who: str, request: bytes) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        f"/{INFERENCE_SERVICE}/ModelInfer"
    )
    await call(request, metadata=(("authorization", f"Bearer {TOKENS[who]}"),))


@contextmanager
def _greedy(port: int, request: Path, under_way: int) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.fairness", "--greedy", str(port), str(request)]
    command.append(str(under_way))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


def _measure(server: ServerProcess, request: Path, calls: int) -> tuple[float, float]:
    """Beside the greedy one over alone: of the time, and of the server's work per core."""
    sent = request.read_bytes()
    alone = asyncio.run(p99(server, sent, calls))
    with _greedy(server.port, request, 64):
        beside = asyncio.run(p99(server, sent, calls))
    cores = len(os.sched_getaffinity(0))
    return (
        beside.seconds / alone.seconds,
        beside.server_seconds / alone.server_seconds / cores,
    )


def main() -> None:
    """Measure each model in each setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=_ROW_SHAPES)
    parser.add_argument("--greedy", nargs=3, metavar=("PORT", "REQUEST", "CALLS"))
    arguments = parser.parse_args()
    if arguments.greedy:
        port, request, under_way = arguments.greedy
        asyncio.run(hold(int(port), Path(request).read_bytes(), under_way=int(under_way)))
    for name in arguments.only or _ROW_SHAPES:
        with TemporaryDirectory() as place, ExitStack() as stack:
            request, servers = _prepare(name, Path(place), stack)
            rounds = [
                {how: _measure(server, request, arguments.calls) for how, server in servers.items()}
                for _ in range(arguments.rounds)
            ]
            for how in servers:
                times, works = zip(*(each[how] for each in rounds), strict=True)
                print(f"{name}, {how}: beside the greedy one / alone", flush=True)
                print(f"  p99 of the time                 {_told(times)}", flush=True)
                print(f"  p99 of the server's work / core {_told(works)}", flush=True)


def _told(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):5.1f} ({min(ratios):.1f} to {max(ratios):.1f})"


def _prepare(name: str, folder: Path, stack: ExitStack) -> tuple[Path, dict[str, ServerProcess]]:
    """Exports the model, and starts a server for each setting; the request, and the servers."""
    tokens = folder / "tokens.toml"
    tokens.write_text(
        "".join(f'[{who}]\ntoken = "{t}"\nrights = ["infer"]\n' for who, t in TOKENS.items())
    )
    tokens.chmod(0o600)
    row = np.random.default_rng(0).random((1, *_ROW_SHAPES[name]), np.float32)
    request = folder / "request"
    request.write_bytes(request_of(name, row))
    plain, joined = folder / "plain", folder / "joined"
    export_zoo_model(name, repository=plain, preprocessing="none")
    shutil.copytree(plain, joined)
    config = joined / name / "config.pbtxt"
    text = config.read_text()
    (largest,) = re.findall(r"max_batch_size: (\d+)", text)
    wanted = f"dynamic_batching {{ preferred_batch_size: {largest}"
    config.write_text(text.replace("dynamic_batching {", wanted))
    bound = ("--max-requests-per-second", str(_BOUND_PER_SECOND))
    settings: dict[str, tuple[Path, Sequence[str]]] = {
        "as it is": (plain, ()),
        "batches that do not pay too": (joined, ()),
        f"at most {_BOUND_PER_SECOND}/s": (plain, bound),
    }
    serve = ("--port", "0", "--explain", "off", "--token-file", tokens)
    return request, {
        how: stack.enter_context(running("eyespot.cli", ["serve", repository, *serve, *options]))
        for how, (repository, options) in settings.items()
    }


if __name__ == "__main__":
    main()
