"""`python -m benchmarks.camera`: what a camera's JPEG costs over decoding and inference alone.

In each round, one after another on the same machine, CPU time per image: (a) decoding by the
model's rule in process, (b) ONNX Runtime in process at its most frugal setting, (c) `eyespot
serve` asked with pixels, (d) the same server asked with the JPEG, (e) the least program that does
both, a thread for each core that decodes and runs one row after another, (f) the same behind the
least gRPC server. On busy cores the same work takes more of them than on idle ones: (d), (e) and
(f) have them as busy. Only ratios are printed.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.in_process import InProcess
from benchmarks.load import under_load
from benchmarks.processes import ServerProcess, running
from eyespot.exporter import export_zoo_model
from eyespot.server.picture_decoding import decode_picture
from eyespot.v1 import inference_pb2
from eyespot.v1.manifest import MANIFEST_FILE, read_manifest
from eyespot.v1.preprocessing import IMAGENET, PreprocessingRule
from eyespot.v1.tensors import datatype_of, encode

_MODEL, _CLIENTS = "mobilenet_v2", 4


@dataclass(frozen=True)
class Round:
    """CPU seconds per image."""

    decoding: float
    inference: float
    served_pixels: float
    served_file: float
    together: float
    least_server: float


RATIOS = {
    "(d) / ((a) + (b)), at most 1.10": lambda r: r.served_file / (r.decoding + r.inference),
    "(d) / ((a) + (c)), at most 1.10": lambda r: r.served_file / (r.decoding + r.served_pixels),
    "(d) / (e), at most 1.10": lambda r: r.served_file / r.together,
    "(f) / (e), a call alone": lambda r: r.least_server / r.together,
    "(d) / (f), ours beside it": lambda r: r.served_file / r.least_server,
    "(a) / (b), for scale": lambda r: r.decoding / r.inference,
}


def photograph(width: int, height: int) -> bytes:
    """A JPEG of soft shapes with some grain, about as large as a photograph of its size."""
    random = np.random.default_rng(0)
    patches = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
    shapes = np.asarray(patches.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = random.normal(0, 6, shapes.shape).astype(np.int16)
    written = io.BytesIO()
    image = Image.fromarray(np.clip(shapes + grain, 0, 255).astype(np.uint8))
    image.save(written, "JPEG", quality=90)
    return written.getvalue()


def measure(
    repository: Path, file: bytes, *, rounds: int, calls: int, rows: int, folder: Path
) -> list[Round]:
    """Start the server, and measure round by round."""
    version = repository / _MODEL / "1"
    rule = read_manifest(version / MANIFEST_FILE).preprocessing or IMAGENET
    pixels = decode_picture(file, rule)[np.newaxis]
    in_process = InProcess(version / "model.onnx", pixels, images=calls * rows)
    given = in_process.input_name
    by_pixels = _write_request(folder / "pixels", _MODEL, given, np.repeat(pixels, rows, axis=0))
    encoded = np.array([[file]] * rows, object)
    by_file = _write_request(folder / "file", f"{_MODEL}_image", "image", encoded)
    with ExitStack() as stack:
        options: list[str | Path] = ["serve", repository, "--port", "0", "--explain", "off"]
        options += ["--log-level", "warning"]
        server = stack.enter_context(running("eyespot.cli", options))
        model = version / "model.onnx"
        least = stack.enter_context(running("benchmarks.least_picture_server", [model]))

        def served(request: Path, calls: int, server: ServerProcess = server) -> float:
            seconds = under_load(server, request, clients=_CLIENTS, calls=calls)[1]
            return seconds / (calls * rows)

        for request in (by_pixels, by_file):
            served(request, max(16, calls // 10))
        alone = _write_request(folder / "alone", _MODEL, "image", np.array([file], object))
        served(alone, 16, least)
        return [
            Round(
                _decoding(file, rule, calls * rows),
                in_process.measure().cpu_seconds,
                served(by_pixels, calls),
                served(by_file, calls),
                _together(model, file, rule, calls * rows),
                served(alone, calls, least) * rows,
            )
            for _ in range(rounds)
        ]


def _decoding(file: bytes, rule: PreprocessingRule, images: int) -> float:
    began = time.process_time()
    for _ in range(images):
        decode_picture(file, rule)
    return (time.process_time() - began) / images


def _together(model: Path, file: bytes, rule: PreprocessingRule, images: int) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    def answer(_: int) -> None:
        session.run(None, {given.name: decode_picture(file, rule)[np.newaxis]})

    answer(0)
    began = time.process_time()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(answer, range(images)))
    return (time.process_time() - began) / images


def _write_request(path: Path, model_name: str, given: str, array: np.ndarray) -> Path:
    datatype = datatype_of(array.dtype)
    tensor = inference_pb2.ModelInferRequest.InferInputTensor(
        name=given, datatype=datatype, shape=array.shape
    )
    request = inference_pb2.ModelInferRequest(
        model_name=model_name, inputs=[tensor], raw_input_contents=[encode(array, datatype)]
    )
    path.write_bytes(request.SerializeToString())
    return path


def main() -> None:
    """Measure and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repository", type=Path, help=f"that has {_MODEL}; exported if absent")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rows", type=int, default=1, help="pictures a call")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(640, 480), metavar=("WIDTH", "HEIGHT")
    )
    arguments = parser.parse_args()
    width, height = arguments.size
    file = photograph(width, height)
    with TemporaryDirectory() as folder:
        repository = arguments.repository or Path(folder) / "repository"
        if not arguments.repository:
            export_zoo_model(_MODEL, repository=repository)
        rounds = measure(
            repository,
            file,
            rounds=arguments.rounds,
            calls=arguments.calls,
            rows=arguments.rows,
            folder=Path(folder),
        )
    print(
        f"{_MODEL}, JPEG of {width} x {height}, {len(file) >> 10} KiB, {arguments.rows} a call, "
        f"{_CLIENTS} clients:"
    )
    for name, ratio in RATIOS.items():
        values = sorted(map(ratio, rounds))
        median = statistics.median(values)
        print(f"  {name:<34} {median:5.2f}   ({values[0]:.2f} to {values[-1]:.2f})")


if __name__ == "__main__":
    main()
