"""`python -m benchmarks.quantised_speed`: how many times as fast INT8 is as FP32 on this processor.

Networks of the zoo with random weights, all layers quantised, ranges from random pictures: speed
does not depend on either. FP32 and INT8 run in turns, one thread each, and processor time is
counted, which does not count who waits for the processor. Only ratios are printed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

from eyespot.exporter import export_zoo_model
from eyespot.exporter.latency import Latency, measure_latencies, runner
from eyespot.exporter.parity import Batch
from eyespot.exporter.quantisation.graph import prepare
from eyespot.exporter.quantisation.processor import (
    PROCESSORS,
    Processor,
    scheme_for,
    this_processor,
)
from eyespot.exporter.quantisation.quantiser import Quantiser

# How many times as fast the best batch is to be, where the processor has VNNI.
BARS = {"resnet50": 3.0, "mobilenet_v2": 1.5}
BATCH_SIZES = (1, 2, 4, 8, 16)
CALIBRATION_ROWS = 4


def main() -> None:
    """Measure each network, and print its ratios beside the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", default=list(BARS), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processor", choices=PROCESSORS, default=this_processor(),
                        help="whose numbers to use (default this one's)")  # fmt: skip
    arguments = parser.parse_args()
    here = this_processor()
    print(f"this processor: {here}; numbers: {scheme_for(arguments.processor)}")
    if here != "vnni":
        print("without VNNI no instruction multiplies bytes and adds in 32 bits: no bar holds here")
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            before, after = _measure(name, Path(folder), arguments.processor, arguments.repeats)
        ratios = ", ".join(
            f"{before.seconds[size] / after.seconds[size]:.2f} at batch {size}"
            for size in BATCH_SIZES
            if size in before.seconds and size in after.seconds
        )
        bar = f"; bar with VNNI: at least {BARS[name]}" if name in BARS else ""
        print(f"{name}: INT8 {ratios} times as fast as FP32{bar}", flush=True)


def _measure(
    name: str, folder: Path, processor: Processor, repeats: int
) -> tuple[Latency, Latency]:
    exported = export_zoo_model(name, repository=folder / "repository")
    (spec,) = exported.manifest.inputs
    shape = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
    graph = prepare(exported.path / "model.onnx", folder)
    quantiser = Quantiser(graph, folder, scheme=scheme_for(processor))
    pixels = np.random.default_rng(0).integers(0, 256, (CALIBRATION_ROWS, *shape[1:]), np.uint8)
    quantiser.calibrate([Batch("random", (pixels,))], input_name=spec.name)
    runs = [
        runner(_open(path), [shape])
        for path in (exported.path / "model.onnx", quantiser.quantise())
    ]
    before, after = measure_latencies(
        runs, batch_sizes=BATCH_SIZES, repeats=repeats, clock=time.process_time
    )
    return before, after


def _open(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
