"""The composition: a module in, a model version with its proof out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram

from eyespot.exporter.capture import capture, held_in_eval, on_cpu
from eyespot.exporter.errors import CaptureError
from eyespot.exporter.face import Face, describe
from eyespot.exporter.gradient_graph import (
    ROWS,
    WrittenGradients,
    find_layers,
    write_gradients,
)
from eyespot.exporter.labels import read_labels, repetition_notes
from eyespot.exporter.onnx_file import DEFAULT_OPSET, check_opset, write_onnx
from eyespot.exporter.original_file import open_original, save_original
from eyespot.exporter.parity import (
    RTOL,
    Batch,
    check_is_original,
    class_axis,
    measure,
    open_session,
    random_batches,
    run_module,
    run_session,
)
from eyespot.exporter.pictures import read_pictures
from eyespot.exporter.preprocessed import Preprocessed
from eyespot.exporter.repository import Draft, check_name, plan_version, written_version
from eyespot.exporter.samples import Samples, read_samples
from eyespot.v1.manifest import (
    GRADIENT_FILES,
    MANIFEST_FILE,
    MODEL_FILE,
    ORIGINAL_FILE,
    Manifest,
    ParityReport,
    Provenance,
    write_manifest,
)
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.v1.sha256 import sha256_of
from eyespot.zoo.entry import Task

Progress = Callable[[str], None]

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


def export(
    module: nn.Module,
    sample_inputs: torch.Tensor | Sequence[torch.Tensor],
    *,
    repository: Path | str,
    name: str,
    task: Task = "classification",
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[int, str] | Sequence[Mapping[int, str]] = (),
    min_size: int = 1,
    preprocessing: PreprocessingRule | None = None,
    labels: Sequence[str] | Path | None = None,
    independent_classes: bool = False,
    provenance: Provenance | None = None,
    opset_version: int = DEFAULT_OPSET,
    external_data: bool = False,
    gradient_graph: bool = False,
    gradient_layers: Sequence[str] = (),
    max_batch_size: int | None = None,
    parity_images: Path | str | None = None,
    rtol: float = RTOL,
    replace: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExportResult:
    """Export any module to a model repository, with proof that the two artefacts agree.

    The module is left as it was found, after errors too.

    Args:
        module: Takes tensors, rows first, and gives FP32 ones: without more ado, a classifier
            from (B, C, H, W) to (B, classes).
        sample_inputs: One row of what the module takes. The values of FP32 do not matter; in
            INT64 the largest is the largest symbol that there is.
        repository: Made if it does not exist.
        name: Of the model; if it is there, this becomes its next version.
        task: What the first output means; it names that output.
        input_names: "input", or "image" where there is preprocessing, if not told.
        output_names: In the order in which the module gives them, if not after the task.
        dynamic_axes: Axes that may have any size, by number, beside the rows, and their names:
            {2: "height", 3: "width"}; for several inputs, one such mapping for each.
        min_size: The smallest size of every dynamic axis.
        preprocessing: Becomes part of the graph, which then takes UINT8 (B, H, W, C).
        labels: One for each class, or a file of them.
        independent_classes: A row may have any number of classes: clients are told that the
            probability of each is the logistic function of its own logit.
        provenance: Where the network comes from; the class of the module if not told.
        opset_version: Of the ONNX graph.
        external_data: Keep the weights of the graph in a file of their own, as those beyond
            2 GiB are kept anyway.
        gradient_graph: Write the gradient as ONNX graphs as well, for servers without PyTorch.
            Where an operator is in the way, the notes say which, and the rest is written.
        gradient_layers: Nodes of the captured graph, or modules that end in one, that Grad-CAM
            and its kin may then be asked about without PyTorch, beside the last spatial map before
            pooling; each takes a file of its own. They imply `gradient_graph`.
        max_batch_size: Most rows of a batch; chosen by the size of the input if not told.
        parity_images: A folder of pictures to compare the artefacts on, beside random inputs.
        rtol: Tolerated difference, as a fraction of the output's scale.
        replace: Replace the latest version, and what else stands in the way.
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
    samples = read_samples(
        sample_inputs,
        names=input_names,
        dynamic_axes=dynamic_axes,
        min_size=min_size,
        rule=preprocessing,
    )
    with held_in_eval(module):
        network = on_cpu(module)
        if preprocessing is not None:
            network = Preprocessed(network, preprocessing).eval()
        tell("capturing the module")
        program = _capture(network, samples, len(output_names or ("one",)))
        face = describe(
            program,
            samples,
            task=task,
            output_names=output_names,
            rule=preprocessing,
            labels=labels,
        )
        if gradient_layers:
            gradient_layers = find_layers(
                program, gradient_layers, gradient_node=face.gradient_node
            )
        plan = plan_version(
            repository,
            face.config(name, max_batch_size, independent_classes=independent_classes),
            labels=face.labels,
            max_batch_size=max_batch_size,
            replace=replace,
        )
        most = plan.config.max_batch_size
        batches = face.random_batches(max_batch_size=most, seed=seed)
        notes = repetition_notes(face.labels or ())
        if parity_images is not None:
            pictures = read_pictures(
                Path(parity_images), preprocessing, shape=face.picture_shape, batch_size=most
            )
            batches.extend(pictures.batches)
            notes += tuple(f"skipped {reason}" for reason in pictures.skipped)
        for note in notes:
            tell(note)
        with written_version(repository, plan) as draft:
            files = _write_artefacts(draft, program, face, opset_version, external_data, tell)
            tell(f"checking parity on {len(batches)} batches")
            parity = _prove(draft, face, network, batches, rtol=rtol)
            gradients = None
            if gradient_graph or gradient_layers:
                tell(f"writing {GRADIENT_FILES['derivative']}")
                gradients = _write_gradients(draft, face, samples, gradient_layers, tell, seed=seed)
                parity = parity._replace(gradients=gradients.cases)
                files += gradients.files
                notes += (said := _gradient_notes(gradients))
                for note in said:
                    tell(note)
            manifest = Manifest(
                model_name=name,
                model_version=draft.model_version,
                provenance=provenance or Provenance(architecture=type(module).__name__),
                inputs=face.inputs,
                outputs=face.outputs,
                channel_axis=face.channel_axis,
                gradient_node=face.gradient_node,
                preprocessing=preprocessing,
                parity=parity,
                opset_version=opset_version,
                parameter_count=sum(value.numel() for value in module.parameters()),
                files={file: sha256_of(draft.folder / file) for file in files},
                library_versions=library_versions(),
                task=task,
                dynamic_axes=samples.dynamic_axes,
                symbols=samples.symbols,
                gradient_graphs=None if gradients is None else gradients.graphs,
            )
            write_manifest(manifest, draft.folder / MANIFEST_FILE)
    return ExportResult(
        repository / name / plan.model_version,
        plan.model_version,
        manifest,
        (*plan.standing(repository), *notes),
    )


def library_versions() -> dict[str, str]:
    """Tell which versions of which libraries write a model version."""
    return {name: _version(name) for name in _LIBRARIES}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # onnxruntime-gpu is the same module by another name
        return str(importlib.import_module(name).__version__)


def _capture(network: nn.Module, samples: Samples, outputs: int) -> ExportedProgram:
    try:
        return capture(network, samples.tensors, axes=samples.axes, outputs=outputs)
    except CaptureError as error:
        shape = list(samples.given[0].shape)
        if len(samples.given) > 1 or len(shape) != 3:
            raise
        # Most probably one picture: the reason alone would speak of sizes nobody gave.
        raise CaptureError(
            f"sample_inputs has shape {shape}, whose first axis must be the batch: "
            f"is {[1, *shape]} meant? As it is, {error}"
        ) from error


def _write_artefacts(
    draft: Draft,
    program: ExportedProgram,
    face: Face,
    opset_version: int,
    external_data: bool,
    tell: Progress,
) -> tuple[str, ...]:
    """Write both artefacts of one program, and name the files."""
    tell(f"writing {ORIGINAL_FILE}")
    save_original(program, draft.folder / ORIGINAL_FILE)
    tell(f"writing {MODEL_FILE}")
    files = write_onnx(
        program,
        draft.folder,
        inputs=face.inputs,
        outputs=face.outputs,
        opset_version=opset_version,
        external_data=external_data,
    )
    return (*files, ORIGINAL_FILE)


def _prove(
    draft: Draft, face: Face, network: nn.Module, batches: Sequence[Batch], *, rtol: float
) -> ParityReport:
    """Compare the files, as they are on disk, with the module and with each other."""
    original = open_original(draft.folder / ORIGINAL_FILE, gradient_node=face.gradient_node)
    check_is_original(original, run_module(network), batches)
    served = run_session(open_session(draft.folder / MODEL_FILE))
    return measure(
        original,
        served,
        batches,
        outputs=[spec.name for spec in face.outputs],
        class_axis=class_axis(face.task),
        rtol=rtol,
    )


def _write_gradients(
    draft: Draft,
    face: Face,
    samples: Samples,
    layers: Sequence[str],
    tell: Progress,
    *,
    seed: int,
) -> WrittenGradients:
    """Write the gradient graphs, and compare them with the original on many rows."""
    batches = random_batches(
        face.inputs,
        max_batch_size=ROWS,
        seed=seed,
        dynamic_axes=samples.dynamic_axes,
        symbols=samples.symbols,
    )
    (x, *_) = max(batches, key=len).inputs
    return write_gradients(
        draft.folder,
        x,
        gradient_node=face.gradient_node,
        channel_axis=face.channel_axis,
        layers=tuple(dict.fromkeys(layers)),
        progress=tell,
    )


def _gradient_notes(gradients: WrittenGradients) -> tuple[str, ...]:
    """Say what servers without PyTorch cannot explain, and why."""
    graphs = gradients.graphs
    if graphs.reason:
        return (f"only PyTorch explains this model: {graphs.reason}",)
    if graphs.layer is None:
        return ("only PyTorch gives Grad-CAM and its kin: no layer of spatial maps was found",)
    return tuple(
        f"only PyTorch explains by layer {name!r}: {reason}"
        for name, reason in gradients.no_layers.items()
    )
