"""`python -m benchmarks.gradient_graphs [NETWORK ...]`: gradients by ONNX Runtime and by PyTorch.

One row for each classification network of the zoo, with random weights: how well the gradients
of its graph agree with PyTorch's, how long one takes beside PyTorch's, and how long the graphs
take to write beside `model.onnx`; or the operator that is in the way. Times are ratios of what
was measured in turn: absolute ones mean nothing on shared machines.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from eyespot.exporter import ExportError, export_zoo_model
from eyespot.exporter.gradient_graph import open_gradients
from eyespot.saliency import TOP_CLASS, Backend, Objective, Targets
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.v1.manifest import ORIGINAL_FILE, Manifest
from eyespot.zoo import list_models, model_entry

COLUMNS = "{:<22} {:>14} {:>13} {:>10} {:>11}  {}"
_PIXELS = 256


def main() -> None:
    """Export each network, and print its row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("networks", nargs="*", help="those of classification unless told")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        COLUMNS.format(
            *("network", "median rel L2", "least cosine", "time", "export"), "in the way"
        )
    )
    for name in arguments.networks or _classifiers():
        with TemporaryDirectory() as folder:
            try:
                print(row(name, Path(folder), rounds=arguments.rounds), flush=True)
            except ExportError as error:
                print(COLUMNS.format(name, "-", "-", "-", "-", error), flush=True)


def row(name: str, repository: Path, *, rounds: int) -> str:
    """Measure one network."""
    marks: dict[str, float] = {}

    def note(text: str) -> None:
        marks[text.split(" and ")[0]] = time.perf_counter()

    result = export_zoo_model(name, repository=repository, gradient_graph=True, progress=note)
    end = time.perf_counter()
    model = marks["writing gradient.onnx"] - marks["writing model.onnx"]
    export = (end - marks["writing gradient.onnx"]) / model
    graphs, parity = result.manifest.gradient_graphs, result.manifest.parity
    assert graphs is not None
    assert parity is not None
    if graphs.reason:
        return COLUMNS.format(name, "-", "-", "-", f"{export:.2f}x", graphs.reason)
    case = parity.gradients[0]
    times = _times(result.path, result.manifest, rounds=rounds)
    return COLUMNS.format(
        name,
        f"{case.median_rel_l2:.2g}",
        f"{case.least_cosine:.6f}",
        f"{times:.2f}x",
        f"{export:.2f}x",
        graphs.no_rectifiers,
    )


def _times(folder: Path, manifest: Manifest, *, rounds: int) -> float:
    """The time of one gradient over that of PyTorch, one thread each."""
    graphs, node = manifest.gradient_graphs, manifest.gradient_node
    assert graphs is not None
    assert node is not None
    axis = manifest.channel_axis
    original = TorchBackend.load(
        folder / ORIGINAL_FILE, gradient_node=node, channel_axis=axis, num_threads=1
    )
    given = manifest.inputs[0]
    found = open_gradients(
        folder,
        graphs,
        names=(given.name, manifest.outputs[0].name),
        output_shape=original.output_shape,
        channel_axis=axis,
        num_threads=1,
    )
    sizes = {each.name: each.example for each in manifest.dynamic_axes}
    shape = [sizes[size] if isinstance(size, str) else size for size in given.shape[1:]]
    x = np.random.default_rng(0).integers(0, _PIXELS, (1, *shape))
    x = x.astype(np.uint8 if given.datatype == "UINT8" else np.float32)
    pairs = [
        (_seconds(lambda: _ask(found, x)), _seconds(lambda: _ask(original, x)))
        for _ in range(rounds + 1)
    ]
    return statistics.median(ours / theirs for ours, theirs in pairs[1:])


def _ask(backend: Backend, x: np.ndarray) -> object:
    return backend.gradients(x, Objective(Targets(np.full(len(x), TOP_CLASS))))


def _seconds(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def _classifiers() -> list[str]:
    return [name for name in list_models() if model_entry(name).task == "classification"]


if __name__ == "__main__":
    main()
