"""A model that was made elsewhere: any ONNX file, into the repository."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from eyespot.exporter.capture import BATCH
from eyespot.exporter.errors import LabelsError, OnnxError
from eyespot.exporter.labels import check_labels, read_labels, repetition_notes
from eyespot.exporter.model_config import build_config, default_batch_size
from eyespot.exporter.parity import open_session, run_session
from eyespot.exporter.pixel_input import choose_pixel_input
from eyespot.exporter.repository import check_name, plan_version, written_version
from eyespot.v1.external_data import ExternalDataError, check_external_data
from eyespot.v1.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    Manifest,
    Provenance,
    TensorSpec,
    write_manifest,
)
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.v1.sha256 import sha256_of
from eyespot.v1.tensors import datatype_from_onnx

_NO_GRADIENTS = "serves without gradients: an ONNX file has no PyTorch original to differentiate"
_ANY_GRAPH = "; occlusion and rise explain it"
_IF_CHANNELS_ARE_KNOWN = (
    f"{_ANY_GRAPH} once its config.pbtxt tells the channels of its input (format: FORMAT_NCHW)"
)


@dataclass(frozen=True)
class AddResult:
    """A version that was added.

    Attributes:
        path: Its folder.
        model_version: Its number.
        manifest: What it says of itself.
        notes: What the user should know.
    """

    path: Path
    model_version: str
    manifest: Manifest
    notes: tuple[str, ...]


def add_model(
    onnx_path: Path | str,
    *,
    repository: Path | str,
    name: str,
    labels: Sequence[str] | Path | None = None,
    max_batch_size: int | None = None,
    preprocessing: str | Path | PreprocessingRule | None = None,
    rule_changes: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> AddResult:
    """Add an ONNX file to a model repository; its configuration is read off its graph.

    With preprocessing it takes pixels, and is asked with pictures; see `pixel_input`.

    Args:
        onnx_path: With its external data beside it, if it has any.
        repository: Made if it does not exist.
        name: Of the model; if it is there, this becomes its next version.
        labels: One for each class, or a file of them.
        max_batch_size: Most rows of a batch; chosen by the size of the input if not told.
        preprocessing: "imagenet", a rule, or a JSON file with one; without, it is asked with
            arrays.
        rule_changes: Values of the rule to change, by their names.
        replace: Replace the latest version, and what else stands in the way.

    Raises:
        ExportError: The file cannot be served, or the repository cannot take it.
    """
    path, repository = Path(onnx_path), Path(repository)
    check_name(name)
    model = _read(path)
    data = _external_data(path)
    _check(path)
    session = open_session(path)
    inputs = [_spec(value) for value in session.get_inputs()]
    outputs = [_spec(value) for value in session.get_outputs()]
    is_batched = bool(inputs) and all(_has_rows(spec) for spec in (*inputs, *outputs))
    if max_batch_size and not is_batched:
        raise OnnxError(f"{path.name} has no dynamic first dimension: it cannot be batched")
    if is_batched:
        inputs, outputs = _named_rows(inputs), _named_rows(outputs)
    pixels = rule = None
    if preprocessing is not None:
        pixels = choose_pixel_input(inputs, preprocessing, rule_changes or {})
        inputs, rule = [pixels.pixels], pixels.rule
    if isinstance(labels, Path):
        labels = read_labels(labels)
    labelled = None if labels is None else _labelled_output(outputs, check_labels(labels))
    config = build_config(
        name,
        inputs=inputs,
        outputs=outputs,
        max_batch_size=(max_batch_size or default_batch_size(_row_size(inputs)))
        if is_batched
        else 0,
        labelled_output=labelled,
        image_format="FORMAT_NONE" if rule is None else "FORMAT_NHWC",
        parameters=None if rule is None else rule.to_parameters(),
    )
    plan = plan_version(
        repository, config, labels=labels, max_batch_size=max_batch_size, replace=replace
    )
    with written_version(repository, plan) as draft:
        if pixels is None:
            shutil.copyfile(path, draft.folder / MODEL_FILE)
        else:
            onnx.save(pixels.put_before(model), draft.folder / MODEL_FILE)
        for file in data:
            (draft.folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path.parent / file, draft.folder / file)
        served = open_session(draft.folder / MODEL_FILE)  # as it will be served, data and all
        if pixels is not None:
            names = [spec.name for spec in outputs]
            pixels.check(run_session(session), run_session(served), outputs=names)
        manifest = Manifest(
            model_name=name,
            model_version=draft.model_version,
            provenance=Provenance(architecture=model.graph.name, weights=path.name),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            channel_axis=None if rule is None else 3,
            gradient_node=None,
            preprocessing=rule,
            parity=None,
            opset_version=_opset(model),
            parameter_count=None,
            files={file: sha256_of(draft.folder / file) for file in (MODEL_FILE, *data)},
            library_versions={model.producer_name: model.producer_version}
            if model.producer_name
            else {},
        )
        write_manifest(manifest, draft.folder / MANIFEST_FILE)
    said = _NO_GRADIENTS + _other_saliency(inputs, rule)
    notes = (*plan.standing(repository), said, *repetition_notes(labels or ()))
    written = repository / name / draft.model_version
    return AddResult(written, draft.model_version, manifest, notes)


def _other_saliency(inputs: Sequence[TensorSpec], rule: PreprocessingRule | None) -> str:
    """Tell what explains pictures without gradients, and what that needs."""
    if rule is not None:
        return _ANY_GRAPH
    return _IF_CHANNELS_ARE_KNOWN if any(len(spec.shape) == 4 for spec in inputs) else ""


def _read(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path, load_external_data=False)
    except OSError as error:
        raise OnnxError(f"{path} cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise OnnxError(f"{path.name} is not a valid ONNX model: {error}") from error


def _check(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip() or repr(error)
        raise OnnxError(f"{path.name} is not a valid ONNX model: {reason}") from error


def _opset(model: onnx.ModelProto) -> int:
    return next(
        (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0
    )


def _external_data(path: Path) -> list[str]:
    """Name the files with weights that lie beside the model.

    Raises:
        OnnxError: One lies outside the model's folder, or is not there.
    """
    try:
        found = check_external_data(path)
    except ExternalDataError as error:
        raise OnnxError(str(error)) from error
    for file in found:
        if PurePosixPath(file).parts[0] in (MODEL_FILE, MANIFEST_FILE):
            raise OnnxError(f"{path.name} keeps weights in {file!r}, a name that is needed")
    return sorted(found)


def _spec(value: Any) -> TensorSpec:
    datatype = datatype_from_onnx(value.type)
    if datatype is None:
        raise OnnxError(f"{value.name} is {value.type}, which the protocol cannot carry")
    # A size without a name is as dynamic as one with a name.
    shape = tuple(size if isinstance(size, int) else size or "?" for size in value.shape)
    return TensorSpec(value.name, datatype.name, shape)


def _has_rows(spec: TensorSpec) -> bool:
    return len(spec.shape) >= 2 and isinstance(spec.shape[0], str)


def _named_rows(specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    return [TensorSpec(spec.name, spec.datatype, (BATCH, *spec.shape[1:])) for spec in specs]


def _row_size(specs: Sequence[TensorSpec]) -> int:
    """Count the elements of one row; a size that may vary counts as one."""
    return sum(
        math.prod(size for size in spec.shape[1:] if isinstance(size, int)) for spec in specs
    )


def _labelled_output(outputs: Sequence[TensorSpec], labels: Sequence[str]) -> str:
    for spec in outputs:
        classes = spec.shape[1:2] if len(spec.shape) == 4 else spec.shape[-1:]
        if classes == (len(labels),):
            return spec.name
    described = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in outputs)
    raise LabelsError(f"{len(labels)} labels fit the classes of no output: {described}")
