"""More calls than can be answered: how many are answered in time all the same.

Calls come at a steady pace, whatever became of those before (open loop), each with a deadline. In
each round the server's pace is measured first, with clients that wait for their answers; then calls
come at 0.5 to 5 times of that. Told is the goodput, answers within the deadline per second, as a
part of the best of all paces; the rows that ran for callers who had gone; and the memory.

On a machine with other work the time tells less than the processor time that the server had: so
the goodput is told by both. The clients have cores of their own unless told otherwise: they are to
send the calls whatever the server does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import numpy as np

from benchmarks.load import generate
from benchmarks.processes import ServerProcess, running
from benchmarks.serving.stage import request_of
from eyespot.exporter import export_zoo_model
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.services import INFERENCE_SERVICE, InferenceStub

# Much work and few bytes: what is refused has to be received all the same. A row of the second is
# twenty times the work of the first, so that refusing costs next to nothing.
_MODELS = ("resnet110", "wide_resnet28_10")
_ROW_SHAPE = (3, 32, 32)
_PACES = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)  # times what the server can answer
_DEADLINE_ROWS = 25  # as many rows as the server can answer within the deadline of each
_CLIENTS = 8
_REFUSED, _LATE = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED


@dataclass(frozen=True)
class Outcome:
    """What became of the calls of one pace."""

    seconds: float
    cpu_seconds: float  # of the server
    ended: Counter[grpc.StatusCode]
    rows_run: int

    @property
    def per_second(self) -> float:
        """Answers in time, per second."""
        return self.ended[grpc.StatusCode.OK] / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """Answers in time, per second of the server's processor time."""
        return self.ended[grpc.StatusCode.OK] / self.cpu_seconds

    def share(self, *statuses: grpc.StatusCode) -> float:
        """The part of the calls that ended so."""
        return sum(self.ended[status] for status in statuses) / self.ended.total()

    @property
    def in_vain(self) -> float:
        """The part of the rows that ran for nobody."""
        return 1 - self.ended[grpc.StatusCode.OK] / max(1, self.rows_run)


async def send(
    server: ServerProcess, request: bytes, *, per_second: float, calls: int, deadline: float
) -> Outcome:
    """Call at a steady pace, and give what became of the calls."""
    ended: Counter[grpc.StatusCode] = Counter()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        infer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/{INFERENCE_SERVICE}/ModelInfer"
        )

        async def one_call() -> None:
            try:
                await infer(request, timeout=deadline)
            except grpc.aio.AioRpcError as error:
                ended[error.code()] += 1
            else:
                ended[grpc.StatusCode.OK] += 1

        rows, cpu, began = await _rows_run(channel), server.cpu_seconds(), time.perf_counter()
        under_way = []
        for number in range(calls):
            await asyncio.sleep(began + number / per_second - time.perf_counter())
            under_way.append(asyncio.ensure_future(one_call()))
        await asyncio.gather(*under_way)
        seconds, cpu = time.perf_counter() - began, server.cpu_seconds() - cpu
        return Outcome(seconds, cpu, ended, await _rows_run(channel) - rows)


async def _rows_run(channel: grpc.aio.Channel) -> int:
    response = await InferenceStub(channel).ModelStatistics(pb.ModelStatisticsRequest())
    return sum(int(each.inference_count) for each in response.model_stats)


async def measure(server: ServerProcess, request: bytes, seconds: float) -> list[Outcome]:
    """One round: the outcome of each pace, each of about so many seconds."""
    tried = await generate(server.port, request=request, clients=_CLIENTS, calls=4 * _CLIENTS)
    calls = max(4 * _CLIENTS, round(seconds * tried.calls / tried.seconds))
    found = await generate(server.port, request=request, clients=_CLIENTS, calls=calls)
    capacity = found.calls / found.seconds
    return [
        await send(
            server,
            request,
            per_second=pace * capacity,
            calls=round(pace * capacity * seconds),
            deadline=_DEADLINE_ROWS / capacity,
        )
        for pace in _PACES
    ]


@dataclass(frozen=True)
class Line:
    """What is told of one pace: medians over the rounds."""

    pace: float
    goodput: float
    by_cpu: float
    lowest: float  # goodput of the worst round
    refused: float
    late: float
    in_vain: float


def summary(rounds: Sequence[Sequence[Outcome]]) -> list[Line]:
    """One line for each pace; goodput as a part of the best of the same round."""
    best = [max(outcome.per_second for outcome in each) for each in rounds]
    best_by_cpu = [max(outcome.per_cpu_second for outcome in each) for each in rounds]
    lines = []
    for number, pace in enumerate(_PACES):
        outcomes = [each[number] for each in rounds]
        goodput = [o.per_second / most for o, most in zip(outcomes, best, strict=True)]
        by_cpu = [o.per_cpu_second / most for o, most in zip(outcomes, best_by_cpu, strict=True)]
        lines.append(
            Line(
                pace,
                statistics.median(goodput),
                statistics.median(by_cpu),
                min(goodput),
                statistics.median(outcome.share(_REFUSED) for outcome in outcomes),
                statistics.median(outcome.share(_LATE) for outcome in outcomes),
                statistics.median(outcome.in_vain for outcome in outcomes),
            )
        )
    return lines


def show(lines: Sequence[Line]) -> None:
    """Print the table."""
    print("         goodput / best   (lowest)   per processor time   refused   late   rows in vain")
    for line in lines:
        print(
            f"{line.pace:6.1f}x {line.goodput:14.2f} {line.lowest:12.2f} {line.by_cpu:18.2f}"
            f" {line.refused:12.0%} {line.late:6.0%} {line.in_vain:12.0%}"
        )


def draw(lines: Sequence[Line], path: Path) -> None:
    """Draw goodput over the pace of the calls."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    paces = [line.pace for line in lines]
    axes.axhline(0.9, color="0.7", linestyle="--", linewidth=1)
    axes.annotate(
        "bar: 0.9",
        (paces[-1], 0.9),
        (0, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        color="0.4",
    )
    axes.plot(paces, [line.goodput for line in lines], "o-", label="answered in time / best")
    axes.plot(
        paces,
        [line.in_vain for line in lines],
        "s-",
        color="tab:red",
        label="part of the rows that ran for nobody",
    )
    axes.set(
        xlabel="calls, as a multiple of what the server can answer",
        xticks=paces,
        ylim=(-0.03, 1.08),
        title="Goodput under overload",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center right")
    figure.savefig(path, dpi=150)


@contextmanager
def _server_on(cores: int, arguments: Sequence[str | Path]) -> Iterator[ServerProcess]:
    """The server on so many cores, and this process on those that are left (Linux)."""
    all_cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, all_cores[:cores])  # the server inherits it
    with running("eyespot.cli", arguments) as server:
        os.sched_setaffinity(0, all_cores[cores:] or all_cores)
        yield server


def _most_memory_mib(server: ServerProcess) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text()
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kib) / 1024


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", choices=_MODELS, default=_MODELS[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each pace")
    parser.add_argument(
        "--server-cores",
        type=int,
        default=max(1, len(os.sched_getaffinity(0)) // 2),
        help="of the server; the clients have the others, and the same where none is left",
    )
    parser.add_argument("--plot", type=Path, default=Path("overload.png"))
    arguments = parser.parse_args()
    row = np.random.default_rng(0).random((1, *_ROW_SHAPE), np.float32)
    request = request_of(arguments.model, row)
    with TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        export_zoo_model(arguments.model, repository=repository, preprocessing="none")
        quiet = ("--explain", "off", "--log-level", "warning")
        serve: list[str | Path] = ["serve", repository, "--port", "0", *quiet]
        with _server_on(arguments.server_cores, serve) as server:
            asyncio.run(generate(server.port, request=request, clients=_CLIENTS, calls=64))
            before = _most_memory_mib(server)
            rounds = [
                asyncio.run(measure(server, request, arguments.seconds))
                for _ in range(arguments.rounds)
            ]
            grown = _most_memory_mib(server) - before
    lines = summary(rounds)
    show(lines)
    print(f"the server's memory has grown by {grown:.0f} MiB over its {before:.0f} MiB")
    draw(lines, arguments.plot)
    print(f"drawn: {arguments.plot}")


if __name__ == "__main__":
    main()
