"""The composition: a module in, a model version with its proof out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from eyespot.exporter.capture import (
    BATCH,
    capture,
    find_gradient_node,
    held_in_eval,
    input_node,
    on_cpu,
    output_node,
)
from eyespot.exporter.errors import CaptureError
from eyespot.exporter.labels import check_labels, read_labels, repetition_notes
from eyespot.exporter.model_config import build_config, default_batch_size
from eyespot.exporter.onnx_file import DEFAULT_OPSET, build_onnx, check_opset, check_size
from eyespot.exporter.original_file import open_original, save_original
from eyespot.exporter.parity import (
    RTOL,
    Batch,
    batch_sizes,
    check_is_original,
    measure,
    open_session,
    random_batches,
    run_module,
    run_session,
)
from eyespot.exporter.pictures import read_pictures
from eyespot.exporter.preprocessed import Preprocessed, check_rule_fits
from eyespot.exporter.repository import Draft, check_name, plan_version, written_version
from eyespot.v1.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    ORIGINAL_FILE,
    Manifest,
    ParityReport,
    Provenance,
    TensorSpec,
    sha256_of,
    write_manifest,
)
from eyespot.v1.model_config_pb2 import ModelConfig
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.v1.tensors import datatype_of

Progress = Callable[[str], None]

IMAGE = "image"
INPUT = "input"
LOGITS = "logits"

_LIBRARIES = ("eyespot", "torch", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class ExportResult:
    """A version that was written.

    Attributes:
        path: Its folder.
        model_version: Its number.
        manifest: What it says of itself, with the parity report.
        notes: What the user should know: labels that repeat, pictures that could not be read.
    """

    path: Path
    model_version: str
    manifest: Manifest
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Face:
    """What a captured program takes and gives, as a repository describes it."""

    inputs: TensorSpec
    outputs: TensorSpec
    gradient_node: str
    rule: PreprocessingRule | None
    labels: tuple[str, ...] | None

    @property
    def channel_axis(self) -> int | None:
        if len(self.inputs.shape) != 4:
            return None
        return 1 if self.rule is None else 3

    def config(self, name: str, max_batch_size: int | None) -> ModelConfig:
        formats = {None: "FORMAT_NONE", 1: "FORMAT_NCHW", 3: "FORMAT_NHWC"}
        return build_config(
            name,
            inputs=[self.inputs],
            outputs=[self.outputs],
            max_batch_size=max_batch_size or default_batch_size([self.inputs]),
            image_format=formats[self.channel_axis],
            labelled_output=None if self.labels is None else self.outputs.name,
            parameters=None if self.rule is None else self.rule.to_parameters(),
        )


def export(
    module: nn.Module,
    sample_inputs: torch.Tensor,
    *,
    repository: Path | str,
    name: str,
    preprocessing: PreprocessingRule | None = None,
    labels: Sequence[str] | Path | None = None,
    provenance: Provenance | None = None,
    opset_version: int = DEFAULT_OPSET,
    max_batch_size: int | None = None,
    parity_images: Path | str | None = None,
    rtol: float = RTOL,
    force: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExportResult:
    """Export any classifier to a model repository, with proof that the two artefacts agree.

    The module is left as it was found, after errors too.

    Args:
        module: Takes FP32 (B, C, H, W) and gives FP32 (B, classes).
        sample_inputs: One row of what the module takes; the values do not matter.
        repository: Made if it does not exist.
        name: Of the model; if it is there, this becomes its next version.
        preprocessing: Becomes part of the graph, which then takes UINT8 (B, H, W, C).
        labels: One for each class, or a file of them.
        provenance: Where the network comes from; the class of the module if not told.
        opset_version: Of the ONNX graph.
        max_batch_size: Most rows of a batch; chosen by the size of the input if not told.
        parity_images: A folder of pictures to compare the artefacts on, beside random inputs.
        rtol: Tolerated difference, as a fraction of the output's scale.
        force: Replace the latest version, and what else stands in the way.
        seed: Of the random inputs.
        progress: Told what is being done.

    Raises:
        ExportError: Nothing was written, and why.
    """
    repository, tell = Path(repository), progress or (lambda _: None)
    check_name(name)
    check_opset(opset_version)
    if max_batch_size is not None and max_batch_size < 1:
        raise CaptureError(f"max_batch_size must be at least 1, found {max_batch_size}")
    if isinstance(labels, Path):
        labels = read_labels(labels)
    sample = _sample(sample_inputs, preprocessing)
    with held_in_eval(module):
        network = on_cpu(module)
        if preprocessing is not None:
            network = Preprocessed(network, preprocessing).eval()
        tell("capturing the module")
        program = _capture(network, sample, sample_inputs)
        check_size(program)
        face = _describe(program, preprocessing, labels)
        plan = plan_version(
            repository,
            face.config(name, max_batch_size),
            labels=face.labels,
            max_batch_size=max_batch_size,
            force=force,
        )
        most = plan.config.max_batch_size
        batches = random_batches(face.inputs, sizes=batch_sizes(most), seed=seed)
        notes = repetition_notes(face.labels or ())
        if parity_images is not None:
            pictures = read_pictures(
                Path(parity_images),
                preprocessing,
                shape=(sample.shape[1], sample.shape[2]),
                batch_size=most,
            )
            batches.extend(pictures.batches)
            notes += tuple(f"skipped {reason}" for reason in pictures.skipped)
        for note in notes:
            tell(note)
        with written_version(repository, plan) as draft:
            _write_artefacts(draft, program, face, opset_version, tell)
            tell(f"checking parity on {len(batches)} batches")
            parity = _prove(draft, face, network, batches, rtol=rtol)
            manifest = Manifest(
                model_name=name,
                model_version=draft.model_version,
                provenance=provenance or Provenance(architecture=type(module).__name__),
                inputs=(face.inputs,),
                outputs=(face.outputs,),
                channel_axis=face.channel_axis,
                gradient_node=face.gradient_node,
                preprocessing=preprocessing,
                parity=parity,
                opset_version=opset_version,
                parameter_count=sum(value.numel() for value in module.parameters()),
                files={
                    file: sha256_of(draft.folder / file) for file in (MODEL_FILE, ORIGINAL_FILE)
                },
                library_versions=library_versions(),
            )
            write_manifest(manifest, draft.folder / MANIFEST_FILE)
    return ExportResult(repository / name / plan.model_version, plan.model_version, manifest, notes)


def library_versions() -> dict[str, str]:
    """Tell which versions of which libraries write a model version."""
    return {name: metadata.version(name) for name in _LIBRARIES}


def _sample(sample_inputs: torch.Tensor, rule: PreprocessingRule | None) -> torch.Tensor:
    """Give a row of what the captured module will take, in place of what the module takes."""
    if not isinstance(sample_inputs, torch.Tensor):
        raise CaptureError(
            f"sample_inputs is of type {type(sample_inputs).__name__}: one tensor is expected, "
            "such as torch.zeros(1, 3, 224, 224)"
        )
    shape = list(sample_inputs.shape)
    if sample_inputs.dtype != torch.float32 or len(shape) < 2 or shape[0] < 1:
        raise CaptureError(
            f"sample_inputs is {sample_inputs.dtype} of shape {shape}: float32 with at least "
            "one row is expected"
        )
    if rule is None:
        return torch.zeros(1, *shape[1:])
    if len(shape) != 4:
        raise CaptureError(f"sample_inputs has shape {shape}: with preprocessing, (1, C, H, W)")
    channels, height, width = shape[1:]
    check_rule_fits(rule, channels=channels, height=height, width=width)
    return torch.zeros(1, height, width, channels, dtype=torch.uint8)


def _capture(
    network: nn.Module, sample: torch.Tensor, sample_inputs: torch.Tensor
) -> ExportedProgram:
    try:
        return capture(network, sample)
    except CaptureError as error:
        shape = list(sample_inputs.shape)
        if len(shape) != 3:
            raise
        # Most probably one picture: the reason alone would speak of sizes nobody gave.
        raise CaptureError(
            f"sample_inputs has shape {shape}, whose first axis must be the batch: "
            f"is {[1, *shape]} meant? As it is, {error}"
        ) from error


def _describe(
    program: ExportedProgram, rule: PreprocessingRule | None, labels: Sequence[str] | None
) -> _Face:
    inputs = _spec(INPUT if rule is None else IMAGE, input_node(program).meta["val"])
    outputs = _spec(LOGITS, output_node(program).meta["val"])
    if labels is not None:
        labels = check_labels(labels, classes=int(outputs.shape[1]))
    return _Face(inputs, outputs, find_gradient_node(program), rule, labels)


def _spec(name: str, value: torch.Tensor) -> TensorSpec:
    numpy = np.dtype(str(value.dtype).removeprefix("torch."))
    return TensorSpec(name, datatype_of(numpy), (BATCH, *(int(size) for size in value.shape[1:])))


def _write_artefacts(
    draft: Draft, program: ExportedProgram, face: _Face, opset_version: int, tell: Progress
) -> None:
    """Write both artefacts of one program."""
    tell(f"writing {ORIGINAL_FILE}")
    save_original(program, draft.folder / ORIGINAL_FILE)
    tell(f"writing {MODEL_FILE}")
    model = build_onnx(
        program,
        input_name=face.inputs.name,
        output_name=face.outputs.name,
        opset_version=opset_version,
    )
    (draft.folder / MODEL_FILE).write_bytes(model)


def _prove(
    draft: Draft, face: _Face, network: nn.Module, batches: Sequence[Batch], *, rtol: float
) -> ParityReport:
    """Compare the files, as they are on disk, with the module and with each other."""
    original = open_original(draft.folder / ORIGINAL_FILE, gradient_node=face.gradient_node)
    check_is_original(original.scores, run_module(network), batches)
    served = run_session(open_session(draft.folder / MODEL_FILE))
    return measure(original.scores, served, batches, output=face.outputs.name, rtol=rtol)
