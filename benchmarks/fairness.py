"""What a greedy caller costs a modest one: the modest one's p99 beside it, over its p99 alone.

The modest caller sends one row after another; the greedy one keeps many calls under way, from a
process of its own. Both have tokens. Measured as the server is out of the box, with
`--max-requests-per-second` at twice what the modest one sends, and without batches.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import numpy as np

from benchmarks.processes import running
from benchmarks.serving.stage import request_of
from eyespot.exporter import export_zoo_model
from eyespot.v1.services import INFERENCE_SERVICE

_MODEST_PER_SECOND = 40
_BOUND_PER_SECOND = 2 * _MODEST_PER_SECOND
_ROW_SHAPES = {"mobilenet_v2": (3, 224, 224), "lenet5": (1, 32, 32)}
TOKENS = {"greedy": "g" * 32, "modest": "m" * 32}


async def hold(port: int, request: bytes, *, under_way: int) -> None:
    """Be the greedy caller, until killed."""

    async def call_again_and_again() -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            while True:
                try:
                    await _call(channel, "greedy", request)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.01)  # refused: even the greedy ones breathe

    await asyncio.gather(*(call_again_and_again() for _ in range(under_way)))


async def p99(port: int, request: bytes, calls: int) -> float:
    """Be the modest caller: the seconds within which 99 of 100 calls were answered."""
    taken = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for _ in range(calls):
            began = time.perf_counter()
            await _call(channel, "modest", request)
            taken.append(time.perf_counter() - began)
            await asyncio.sleep(1 / _MODEST_PER_SECOND)
    return sorted(taken)[int(calls * 0.99)]


async def _call(channel: grpc.aio.Channel, who: str, request: bytes) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        f"/{INFERENCE_SERVICE}/ModelInfer"
    )
    await call(request, metadata=(("authorization", f"Bearer {TOKENS[who]}"),))


@contextmanager
def _greedy(port: int, request: Path, under_way: int) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.fairness", "--greedy", str(port), str(request)]
    process = subprocess.Popen([*command, str(under_way)])
    try:
        time.sleep(3)  # until it has connected and filled the queue
        yield
    finally:
        process.kill()
        process.wait()


def _ratio(folder: Path, request: Path, options: list[str], arguments: argparse.Namespace) -> str:
    """The ratio of each round: its median and its range."""
    tokens = folder / "tokens.toml"
    tokens.write_text(
        "".join(f'[{who}]\ntoken = "{t}"\nrights = ["infer"]\n' for who, t in TOKENS.items())
    )
    tokens.chmod(0o600)
    serve: list[str | Path] = [
        "serve",
        folder / "repository",
        "--port",
        "0",
        "--token-file",
        tokens,
        *options,
    ]
    sent, calls = request.read_bytes(), arguments.calls
    ratios = []
    with running("eyespot.cli", serve) as server:
        for _ in range(arguments.rounds):
            alone = asyncio.run(p99(server.port, sent, calls))
            with _greedy(server.port, request, 64):
                beside = asyncio.run(p99(server.port, sent, calls))
            ratios.append(beside / alone)
    ratios.sort()
    return f"{statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"


def main() -> None:
    """Measure each model with and without a bound on the rate."""
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
        with TemporaryDirectory() as place:
            for setting, found in _measure_all(name, Path(place), arguments):
                print(f"{name}, {setting}: beside the greedy one / alone {found}", flush=True)


def _measure_all(
    name: str, folder: Path, arguments: argparse.Namespace
) -> Iterator[tuple[str, str]]:
    entry = export_zoo_model(name, repository=folder / "repository", preprocessing="none").path
    row = np.random.default_rng(0).random((1, *_ROW_SHAPES[name]), np.float32)
    request = folder / "request"
    request.write_bytes(request_of(name, row))
    bound = ["--max-requests-per-second", str(_BOUND_PER_SECOND)]
    settings: dict[str, list[str]] = {"as it is": [], f"at most {_BOUND_PER_SECOND}/s": bound}
    for setting, options in settings.items():
        yield setting, _ratio(folder, request, options, arguments)
    config = entry.parent / "config.pbtxt"
    text = re.sub(r"max_batch_size: \d+", "max_batch_size: 1", config.read_text())
    config.write_text(re.sub(r"preferred_batch_size: .*", "", text))
    yield "max_batch_size 1", _ratio(folder, request, [], arguments)


if __name__ == "__main__":
    main()
