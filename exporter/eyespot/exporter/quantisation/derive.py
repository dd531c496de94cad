"""A version made from another one: measured against the original, and written whole.

It takes over what its source has beside the graph: the original, the labels, the configuration.
Beside random inputs, as every export, it is compared on noise, as the server does when it starts;
the tolerance that its parity report states is what was seen there and then, with room to spare.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from eyespot.exporter.errors import DerivationError
from eyespot.exporter.export import library_versions
from eyespot.exporter.original_file import open_original
from eyespot.exporter.parity import (
    RTOL,
    Batch,
    Run,
    class_axis,
    compare,
    measure,
    open_session,
    random_batches,
    run_session,
)
from eyespot.exporter.quantisation.source import Source
from eyespot.exporter.repository import plan_version, written_version
from eyespot.v1.external_data import check_external_data
from eyespot.v1.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    ORIGINAL_FILE,
    ORIGINAL_GRAPH_FILE,
    Derivation,
    Manifest,
    ParityReport,
    write_manifest,
)
from eyespot.v1.model_config_pb2 import ModelConfig
from eyespot.v1.sha256 import sha256_of
from eyespot.v1.tensors import DATATYPES

# What was seen on some inputs will be exceeded on others.
_ROOM = 2.0
_NOISE_ROWS = 8
_NOISE_SEED = 12


@dataclass(frozen=True)
class Derived:
    """A version that was written.

    Attributes:
        path: Its folder.
        model_name: Its model.
        model_version: Its number.
        manifest: What it says of itself, the derivation and the parity report among it.
        notes: What the user should know.
    """

    path: Path
    model_name: str
    model_version: str
    manifest: Manifest
    notes: tuple[str, ...] = ()


def derived_name(source: Source, suffix: str, *, name: str | None, as_version: bool) -> str:
    """Name the model that a derived version becomes one of.

    Args:
        source: What it is made from.
        suffix: Of the sibling's name, where no name is told.
        name: Of the model.
        as_version: It becomes the next version of its source's own model.

    Raises:
        DerivationError: The name is the source's own, and nobody asked for a version of it.
    """
    own = source.manifest.model_name
    if as_version:
        return own
    if name == own:
        raise DerivationError(
            f"{own} is the name of what it is made from: another name is expected, or --as-version "
            "to make it the next version, which servers then serve"
        )
    return name or own + suffix


def derivation(
    source: Source,
    kind: str,
    *,
    settings: Mapping[str, Any],
    measured: Mapping[str, Any],
    top1_agreement: float | None = None,
    pictures: int = 0,
) -> Derivation:
    """Describe a step from a source."""
    return Derivation(
        kind,
        source.manifest.model_name,
        source.manifest.model_version,
        source.manifest.files[MODEL_FILE],
        top1_agreement,
        pictures,
        settings,
        measured,
    )


def write_derived(
    source: Source,
    graph: Path,
    step: Derivation,
    *,
    name: str,
    pictures: Sequence[Batch] = (),
    rtol: float | None = None,
    notes: Sequence[str] = (),
) -> Derived:
    """Write a version, with its parity report and all that its source has beside its graph.

    Args:
        source: What the graph was made from.
        graph: The new one, in one file.
        step: How it was made.
        name: Of the model that it becomes a version of.
        pictures: To compare on, beside random inputs and noise.
        rtol: Tolerated difference, as a fraction of the output's scale; where none is told it is
            what was seen, with room to spare.
        notes: What the user should know.

    Raises:
        ParityError: It is further from the original than `rtol`, or not finite.
        RepositoryError: The repository cannot take it.
    """
    config = ModelConfig()
    config.CopyFrom(source.config)
    config.name = name
    plan = plan_version(
        source.repository, config, labels=source.labels, max_batch_size=None, replace=False
    )
    with written_version(source.repository, plan) as draft:
        shutil.copyfile(graph, draft.folder / MODEL_FILE)
        files = [MODEL_FILE, *_take_over(source, draft.folder)]
        manifest = source.manifest._replace(
            model_name=name,
            model_version=draft.model_version,
            parity=_prove(source, draft.folder / MODEL_FILE, pictures, rtol),
            opset_version=_opset_of(graph),
            files={file: sha256_of(draft.folder / file) for file in files},
            library_versions=library_versions(),
            derivations=(*source.manifest.derivations, step),
        )
        write_manifest(manifest, draft.folder / MANIFEST_FILE)
    path = source.repository / name / plan.model_version
    told = (*plan.standing(source.repository), *notes)
    return Derived(path, name, plan.model_version, manifest, told)


def _take_over(source: Source, folder: Path) -> list[str]:
    """Give a version what its source has beside the graph and its weights; name the files.

    Graphs that read their weights out of the source's graph get it by another name.
    """
    graphs = [file for file in source.manifest.files if file.endswith(".onnx")]
    weights = {file: check_external_data(source.folder / file) for file in graphs}
    of_the_graph = {MODEL_FILE, *weights.pop(MODEL_FILE)}
    of_others = {file for beside in weights.values() for file in beside}
    taken = [
        file for file in source.manifest.files if file not in of_the_graph or file in of_others
    ]
    for file in taken:
        target = folder / (ORIGINAL_GRAPH_FILE if file == MODEL_FILE else file)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file == ORIGINAL_FILE:
            _link(source.folder / file, target)
        elif MODEL_FILE in weights.get(file, ()):
            _copy_reading(source.folder / file, target)
        else:  # a graph's weights may not be links, which could lead anywhere
            shutil.copyfile(source.folder / file, target)
    return [ORIGINAL_GRAPH_FILE if file == MODEL_FILE else file for file in taken]


def _copy_reading(file: Path, target: Path) -> None:
    """Copy a graph, which then reads from the original graph what it read from the served one."""
    graph = onnx.load(file, load_external_data=False)
    for tensor in graph.graph.initializer:
        for said in tensor.external_data:
            if (said.key, said.value) == ("location", MODEL_FILE):
                said.value = ORIGINAL_GRAPH_FILE
    target.write_bytes(graph.SerializeToString(deterministic=True))


def _link(file: Path, target: Path) -> None:
    """Share a file that is never written again, or copy it where links are not to be had."""
    with contextlib.suppress(OSError):
        os.link(file, target)
        return
    shutil.copyfile(file, target)


def _prove(
    source: Source, graph: Path, pictures: Sequence[Batch], rtol: float | None
) -> ParityReport:
    """Compare a graph with the original; with its source where there is no original."""
    manifest = source.manifest
    served = run_session(open_session(graph))
    original = _original(source)
    outputs = [spec.name for spec in manifest.outputs]
    batches = [*_random_batches(source), *_noise(source), *pictures]
    axis = class_axis(manifest.task)
    if rtol is None:
        cases = compare(original, served, batches, outputs=outputs, class_axis=axis)
        worst = max(case.max_rel_diff for case in cases)
        floor = manifest.parity.rtol if manifest.parity else RTOL
        return ParityReport(0.0, max(floor, _rounded_up(_ROOM * worst)), cases)
    return measure(original, served, batches, outputs=outputs, class_axis=axis, rtol=rtol)


def _original(source: Source) -> Run:
    path = source.folder / ORIGINAL_FILE
    if path.exists():
        return open_original(path, gradient_node=source.manifest.gradient_node)
    return run_session(open_session(source.graph))


def _random_batches(source: Source) -> list[Batch]:
    manifest = source.manifest
    return random_batches(
        manifest.inputs,
        max_batch_size=source.max_batch_size,
        seed=0,
        dynamic_axes=manifest.dynamic_axes,
        symbols=manifest.symbols,
    )


def _noise(source: Source) -> list[Batch]:
    """Draw what an original is compared on when the server starts: pixels that know no others."""
    manifest = source.manifest
    if len(manifest.inputs) != 1 or manifest.symbols:
        return []
    generator = np.random.default_rng(_NOISE_SEED)
    dtype = DATATYPES[manifest.inputs[0].datatype].numpy
    (shape,) = source.row_shapes
    rows = (min(_NOISE_ROWS, source.max_batch_size), *shape[1:])
    if dtype.kind in "iu":
        return [Batch("noise", (generator.integers(0, 256, rows).astype(dtype),))]
    return [Batch("noise", (generator.standard_normal(rows).astype(dtype),))]


def _rounded_up(value: float) -> float:
    """Round up to two digits: nobody measured more."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit) * unit:.2g}")


def _opset_of(graph: Path) -> int:
    model = onnx.load(graph, load_external_data=False)
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
