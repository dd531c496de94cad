"""The same network in other clothes: half precision, INT8 weights, or a graph optimised ahead."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import onnx
import onnxruntime

from eyespot.exporter.errors import DerivationError, OnnxError
from eyespot.exporter.parity import RTOL
from eyespot.exporter.quantisation.derive import Derived, derivation, derived_name, write_derived
from eyespot.exporter.quantisation.source import Source, open_source
from eyespot.exporter.quantisation.speed import measure_opening, measure_speed
from eyespot.exporter.quantisation.weights import store_weights_as_int8
from eyespot.v1.external_data import check_external_data
from eyespot.v1.manifest import MODEL_FILE, OPTIMISED

Conversion = Literal["float16", "int8 weights"]
Progress = Callable[[str], None]

# Of the output's scale: half precision carries 5e-4, and a hundred layers lose a digit of it.
_FLOAT16_RTOL = 2e-2
_SUFFIXES: dict[Conversion, str] = {"float16": "_fp16", "int8 weights": "_int8_weights"}


def convert(
    repository: Path | str,
    name: str,
    *,
    to: Conversion,
    version: str | None = None,
    model_name: str | None = None,
    as_version: bool = False,
    progress: Progress | None = None,
) -> Derived:
    """Make a version in half precision, or one whose weights are kept as INT8.

    Args:
        repository: A folder of models.
        name: Of the model to convert.
        to: "float16", which a CPU only emulates and a GPU doubles its speed by; or
            "int8 weights", which take a quarter of the disk and are floats again once opened.
        version: The latest if not told.
        model_name: Of the new model; the old name with a suffix if not told.
        as_version: Make it the next version of the same model instead.
        progress: Told what is being done.

    Raises:
        ExportError: Nothing was written, and why.
    """
    tell = progress or (lambda _: None)
    with _opened(Path(repository), name, version, kind=to) as (source, graph):
        if to == "float16" and source.manifest.is_quantised:
            raise DerivationError(f"{source} is quantised: {source.root_to_give}")
        target = derived_name(source, _SUFFIXES[to], name=model_name, as_version=as_version)
        tell(f"converting {source}")
        settings: dict[str, Any] = {}
        if to == "float16":
            _convert_to_float16(source.graph, graph)
        else:
            settings["weights"] = store_weights_as_int8(source.graph, graph)
        tell("measuring what came of it")
        step = derivation(source, to, settings=settings, measured=measure(source, graph))
        return write_derived(
            source,
            graph,
            step,
            name=target,
            rtol=_FLOAT16_RTOL if to == "float16" else None,
        )


def optimise(
    repository: Path | str,
    name: str,
    *,
    version: str | None = None,
    model_name: str | None = None,
    as_version: bool = False,
    progress: Progress | None = None,
) -> Derived:
    """Make a version whose constants are folded and whose nodes are fused already.

    What suits one kind of processor only, such as the order of channels in memory, is left to the
    start of the server: the file serves everywhere.

    Args:
        repository: A folder of models.
        name: Of the model to optimise.
        version: The latest if not told.
        model_name: Of the new model; the old name with a suffix if not told.
        as_version: Make it the next version of the same model instead.
        progress: Told what is being done.

    Raises:
        ExportError: Nothing was written, and why.
    """
    tell = progress or (lambda _: None)
    with _opened(Path(repository), name, version, kind=OPTIMISED) as (source, graph):
        target = derived_name(source, "_optimised", name=model_name, as_version=as_version)
        tell(f"optimising {source}")
        _optimise(source.graph, graph)
        tell("measuring what came of it")
        before, after = measure_opening(source.graph, graph)
        step = derivation(
            source,
            OPTIMISED,
            settings={
                "level": "extended",
                "nodes": [_count_nodes(source.graph), _count_nodes(graph)],
            },
            measured={
                **measure(source, graph),
                "opening_ms": round(after, 1),
                "source_opening_ms": round(before, 1),
            },
        )
        parity = source.manifest.parity
        return write_derived(
            source,
            graph,
            step,
            name=target,
            rtol=parity.rtol if parity else RTOL,
        )


def measure(source: Source, graph: Path) -> dict[str, Any]:
    """Measure size and speed of a graph beside its source, as a manifest tells them."""
    speeds = measure_speed(
        source.graph,
        graph,
        row_shapes=source.row_shapes,
        max_batch_size=source.max_batch_size,
    )
    return {
        "bytes": graph.stat().st_size,
        "source_bytes": source.graph_bytes,
        "speed": [
            {
                "batch_size": speed.batch_size,
                "ms": round(speed.derived_ms, 3),
                "source_ms": round(speed.source_ms, 3),
                "times_as_fast": round(speed.ratio, 2),
            }
            for speed in speeds
        ],
    }


@contextlib.contextmanager
def _opened(
    repository: Path, name: str, version: str | None, *, kind: str
) -> Iterator[tuple[Source, Path]]:
    """Open what is not of this kind already, and give a file for what is made of its graph."""
    source = open_source(repository, name, version)
    for step in source.manifest.derivations:
        if step.kind == kind:
            raise DerivationError(f"{source} is {step} already: {source.root_to_give}")
    with tempfile.TemporaryDirectory(prefix="eyespot-") as folder:
        yield source, Path(folder) / MODEL_FILE


def _convert_to_float16(graph: Path, path: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        with warnings.catch_warnings():
            # Of numbers that half precision rounds to 0 or to infinity: parity tells.
            warnings.simplefilter("ignore")
            model = convert_float_to_float16(onnx.load(graph), keep_io_types=True)
    except Exception as error:  # its exceptions share no class of their own
        raise OnnxError(f"the graph cannot be converted to half precision: {error!r}") from error
    onnx.save(model, path)


def _optimise(graph: Path, path: Path) -> None:
    if check_external_data(graph):
        # What is written would name the file of weights beside its source.
        whole = path.with_name("whole.onnx")
        onnx.save(onnx.load(graph), whole)
        graph = whole
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    try:
        onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class of their own
        raise OnnxError(f"ONNX Runtime cannot optimise the graph: {error}") from error


def _count_nodes(graph: Path) -> int:
    return len(onnx.load(graph, load_external_data=False).graph.node)
