"""`python -m benchmarks.explain_threads`: do gradients belong into the serving process?

ONNX Runtime and PyTorch each bring their own threads. Three arrangements, measured one after
another in each round: both in one process with one thread each ("1 + 1"), the same with two
threads each ("2 + 2"), and a second server process that does nothing but explain ("apart").
Only ratios to "1 + 1" are printed: absolute times mean nothing on shared machines.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import numpy as np

from benchmarks.load import Load, under_load
from benchmarks.processes import ServerProcess, running
from eyespot.exporter import export_zoo_model
from eyespot.v1 import explain_pb2, inference_pb2
from eyespot.v1.services import ExplainStub

MODEL = "mobilenet_v2"
ROW_SHAPE = (1, 3, 224, 224)
# What is slowed down, and by which other load.
LOADS = (
    ("explain", "inference"),
    ("inference p99", "explain"),
    ("seconds per image", "explain"),
)


@dataclass(frozen=True)
class Arrangement:
    """Which process infers and which explains, and with how many threads."""

    name: str
    infers: ServerProcess
    explains: ServerProcess
    figures: dict[str, list[float]] = field(default_factory=dict)

    def note(self, figure: str, value: float) -> None:
        """Keep one round's value."""
        self.figures.setdefault(figure, []).append(value)

    def processes(self) -> set[ServerProcess]:
        """The one or two that it consists of."""
        return {self.infers, self.explains}


def main() -> None:
    """Measure the arrangements in turn, and print how they compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument(
        "--only",
        choices=("1 + 1", "2 + 2", "apart"),
        help="one arrangement: what explaining does to inference in it",
    )
    arguments = parser.parse_args()
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        repository = folder / "repository"
        export_zoo_model(MODEL, repository=repository, preprocessing="none")
        request = folder / "request"
        request.write_bytes(_fill(inference_pb2.ModelInferRequest()).SerializeToString())

        def serve(*options: str) -> ServerProcess:
            command = ["serve", str(repository), "--port", "0", "--log-level", "warning", *options]
            return stack.enter_context(running("eyespot.cli", command))

        def infer() -> Callable[[ServerProcess], Load]:
            return lambda server: under_load(
                server, request, clients=arguments.clients, calls=arguments.calls
            )[0]

        arrangements = [
            make() for name, make in _arrangements(serve).items() if arguments.only in (None, name)
        ]
        for arrangement in arrangements:  # the first calls allocate
            _explain_while(arrangement.explains, lambda: time.sleep(1))
            infer()(arrangement.infers)
        for _ in range(arguments.rounds):
            for arrangement in arrangements:
                _measure(arrangement, infer())
        _report(arrangements)


def _arrangements(serve: Callable[..., ServerProcess]) -> dict[str, Callable[[], Arrangement]]:
    """Each by its name; the servers are started when it is made."""

    def together(name: str, *options: str) -> Arrangement:
        server = serve(*options)
        return Arrangement(name, server, server)

    return {
        "1 + 1": lambda: together("1 + 1"),
        "2 + 2": lambda: together("2 + 2", "--intra-op-num-threads", "2", "--explain-threads", "2"),
        "apart": lambda: Arrangement("apart", serve("--explain", "off"), serve()),
    }


def _measure(arrangement: Arrangement, infer: Callable[[ServerProcess], Load]) -> None:
    quiet = _explain_while(arrangement.explains, lambda: time.sleep(3))
    arrangement.note("explain, no inference", statistics.median(quiet))
    load = infer(arrangement.infers)
    arrangement.note("inference p99, no explain", load.latency_p99)
    arrangement.note("seconds per image, no explain", load.seconds / load.calls)
    both: list[Load] = []
    busy = _explain_while(arrangement.explains, lambda: both.append(infer(arrangement.infers)))
    arrangement.note("explain, under inference", statistics.median(busy))
    arrangement.note("inference p99, under explain", both[0].latency_p99)
    arrangement.note("seconds per image, under explain", both[0].seconds / both[0].calls)
    arrangement.note("memory", sum(map(_memory, arrangement.processes())))


def _explain_while(server: ServerProcess, action: Callable[[], object]) -> list[float]:
    """Explain one row after another until the action is done; give the seconds of each."""
    worker = threading.Thread(target=action)
    seconds = []
    request = _fill(explain_pb2.ExplainRequest())
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
        stub = ExplainStub(channel)
        worker.start()
        while worker.is_alive():
            began = time.perf_counter()
            stub.Explain(request)
            seconds.append(time.perf_counter() - began)
    worker.join()
    return seconds


def _fill(request: inference_pb2.ModelInferRequest | explain_pb2.ExplainRequest):  # type: ignore[no-untyped-def]
    row = np.random.default_rng(0).standard_normal(ROW_SHAPE, np.float32)
    request.model_name = MODEL
    request.inputs.add(name="input", datatype="FP32", shape=ROW_SHAPE)
    request.raw_input_contents.append(row.tobytes())
    return request


def _memory(server: ServerProcess) -> float:
    """The process's share of memory, in bytes (Linux's PSS)."""
    for line in Path(f"/proc/{server.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1]) * 1024
    raise RuntimeError("no Pss in smaps_rollup")


def _report(arrangements: list[Arrangement]) -> None:
    first, *others = arrangements
    print(f"{MODEL}, one row per call; medians of each round's ratios, smallest and largest")
    if others:
        print(f"each figure over that of {first.name!r}:")
        for figure, values in first.figures.items():
            cells = [f"{other.name}: {_spread(other.figures[figure], values)}" for other in others]
            print(f"  {figure:<34} {'   '.join(cells)}")
    print("what one load does to the other:")
    for arrangement in arrangements:
        figures = arrangement.figures
        for what, load in LOADS:
            ratios = _spread(figures[f"{what}, under {load}"], figures[f"{what}, no {load}"])
            print(f"  {arrangement.name}: {what} under {load} x {ratios}")


def _spread(over: list[float], under: list[float]) -> str:
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    return f"{statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
