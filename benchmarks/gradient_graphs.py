"""`python -m benchmarks.gradient_graphs [NETWORK ...]`: gradients by ONNX Runtime and by PyTorch.

One row for each classification network of the zoo, with random weights, for pictures as in its
paper or of one size for all: how well the gradients of its graph agree with PyTorch's, how long
one takes beside PyTorch's, and how long an export with the graphs takes beside one without; or
the operator that is in the way. Each row is kept when it is there, and a network that has one is
not measured again; at the end the table of all is printed. Times are ratios of processor time:
absolute ones mean nothing on shared machines.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from eyespot.exporter import ExportError, export_zoo_model
from eyespot.exporter.gradient_graph import open_gradients
from eyespot.saliency import TOP_CLASS, Backend, Objective, Targets
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.v1.manifest import ORIGINAL_FILE, Manifest
from eyespot.zoo import list_models, model_entry

FOLDER = Path("build")
COLUMNS = (
    "network",
    "rows",
    "median relative L2",
    "PyTorch's own",
    "least cosine",
    "time",
    "export",
)
_PIXELS = 256

Row = Mapping[str, Any]


def main() -> None:
    """Measure each network that has no row yet, the small ones first, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("networks", nargs="*", help="those of classification unless told")
    parser.add_argument("--rounds", type=int, default=5, help="gradients that are timed")
    parser.add_argument("--input-size", type=int, metavar="PIXELS", help="height and width")
    parser.add_argument("--results", type=Path, help="where rows are kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size: int | None = arguments.input_size
    at = "" if size is None else f"_{size}"
    results: Path = arguments.results or FOLDER / f"gradient_graphs{at}.jsonl"
    rows = _read(results)
    results.parent.mkdir(parents=True, exist_ok=True)
    for name in arguments.networks or _classifiers():
        if name not in rows:
            rows[name] = _measured(name, size, rounds=arguments.rounds)
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[name]) + "\n")
    print("\n".join(_table(rows)))


def measure(name: str, repository: Path, *, input_size: int | None, rounds: int) -> Row:
    """Measure one network.

    Raises:
        ExportError: It cannot be exported.
    """
    begin = time.process_time()
    before = begin

    def note(text: str) -> None:
        nonlocal before
        if text.startswith("writing gradient.onnx"):
            before = time.process_time()

    result = export_zoo_model(
        name, repository=repository, gradient_graph=True, input_size=input_size, progress=note
    )
    export = (time.process_time() - begin) / (before - begin)
    graphs, parity = result.manifest.gradient_graphs, result.manifest.parity
    assert graphs is not None
    assert parity is not None
    if graphs.reason:
        return {"network": name, "reason": graphs.reason, "export": export}
    case = parity.gradients[0]
    return {
        "network": name,
        "rows": case.rows,
        "median relative L2": case.median_rel_l2,
        "PyTorch's own": case.own_rel_l2,
        "least cosine": case.least_cosine,
        "time": _time(result.path, result.manifest, rounds=rounds),
        "export": export,
        "rectifiers": graphs.no_rectifiers,
    }


def _measured(name: str, input_size: int | None, *, rounds: int) -> Row:
    with TemporaryDirectory() as folder:
        try:
            return measure(name, Path(folder), input_size=input_size, rounds=rounds)
        except ExportError as error:
            return {"network": name, "reason": str(error)}


def _time(folder: Path, manifest: Manifest, *, rounds: int) -> float:
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
    begin = time.process_time()
    function()
    return time.process_time() - begin


def _classifiers() -> list[str]:
    entries = map(model_entry, list_models())
    found = [entry for entry in entries if entry.task == "classification"]
    return [entry.name for entry in sorted(found, key=lambda entry: entry.parameter_count)]


def _read(results: Path) -> dict[str, Row]:
    if not results.exists():
        return {}
    rows = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    return {row["network"]: row for row in rows}


def _table(rows: Mapping[str, Row]) -> list[str]:
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for name in sorted(rows):
        row = rows[name]
        cells = (
            [row["reason"]] if "reason" in row else [_cell(row, column) for column in COLUMNS[1:]]
        )
        lines.append(f"| {' | '.join([name, *cells])} |")
    return lines


def _cell(row: Row, column: str) -> str:
    value = row[column]
    if column == "rows":
        return str(value)
    if column == "PyTorch's own" and not value:
        return "-"
    return f"{value:{_FORMATS.get(column, '.2g')}}"


_FORMATS = {"least cosine": ".6f", "time": ".2f", "export": ".2f"}


if __name__ == "__main__":
    main()
