"""`make bench`: every ratio of serving, as a table and as one picture.

In each round, one after another on the same machine: (a) ONNX Runtime in process at its best
sessions, threads and batch (for speed, and for CPU time), (b) a bare grpc.aio server that
answers the same bytes unread, (c) `eyespot serve`; the clients are on the same cores. Only
ratios are told: absolute times mean nothing on shared machines.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.serving.figure import draw
from benchmarks.serving.idle import idle
from benchmarks.serving.large_models import mobilenet_v2, resnet50
from benchmarks.serving.memory_path import shared_memory
from benchmarks.serving.ratios import Ratio, table
from benchmarks.serving.small_model import lenet5, stream

PARTS: Mapping[str, Callable[[int, Path], list[Ratio]]] = {
    "mobilenet_v2": mobilenet_v2,
    "resnet50": resnet50,
    "lenet5": lenet5,
    "stream": stream,
    "shared_memory": shared_memory,
    "idle": idle,
}


def main() -> None:
    """Measure the parts that are wanted, print their table and draw it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts (5)")
    parser.add_argument(
        "--only", choices=PARTS, action="append", metavar="PART",
        help=f"leave the others out; may be repeated: {', '.join(PARTS)}",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=Path("build/bench.png"), help="picture (build/bench.png)"
    )
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    ratios = []
    for name in options.only or PARTS:
        print(f"{name} ...", flush=True)
        with TemporaryDirectory() as folder:
            ratios += PARTS[name](options.rounds, Path(folder))
    print(table(ratios))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    draw(ratios, options.output)
    print(f"drawn in {options.output}")


if __name__ == "__main__":
    main()
