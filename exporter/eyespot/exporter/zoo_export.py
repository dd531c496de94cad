"""A network of the zoo, by name, into a model repository."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eyespot.exporter.errors import (
    CaptureError,
    LabelsError,
    LayerNameError,
    PreprocessingFitError,
)
from eyespot.exporter.export import ExportResult, Progress, export
from eyespot.exporter.labels import check_labels, read_labels
from eyespot.exporter.onnx_file import DEFAULT_OPSET
from eyespot.exporter.parity import RTOL
from eyespot.exporter.rule_choice import choose_rule
from eyespot.exporter.zoo_parts import parts_of
from eyespot.v1.manifest import Provenance
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo import (
    ModelEntry,
    Part,
    WeightsOrigin,
    create_model,
    enliven,
    load_torchvision,
    load_weights,
    model_entry,
    preprocessing_for,
    set_transform_input,
)

_LABELS = "labels"  # in the header of a file of weights, as a JSON list
# Statistics are measured over rows and positions: where inputs are small, and deep maps have a
# single position, it takes more rows to know them.
_SMALL_INPUT = 3 * 64 * 64
_ROWS_OF_SMALL, _ROWS_OF_LARGE = 32, 4


def export_zoo_model(name: str, *, repository: Path | str, **options: Any) -> ExportResult:
    """Export a network of the zoo that is one model; arguments as `export_zoo_parts` takes them.

    Raises:
        ZooError: There is no such network, or the weights do not fit it.
        ExportError: Nothing was written, and why.
    """
    parts = model_entry(name).parts
    if len(parts) > 1:
        models = ", ".join(_model_name(name, part) for part in parts)
        raise CaptureError(f"{name} is exported as {models}: export_zoo_parts does that")
    (result,) = export_zoo_parts(name, repository=repository, **options)
    return result


def export_zoo_parts(
    name: str,
    *,
    repository: Path | str,
    weights: str | Path | None = None,
    transform_input: bool | None = None,
    model_name: str | None = None,
    labels: Sequence[str] | Path | None = None,
    num_classes: int | None = None,
    input_size: int | None = None,
    in_channels: int | None = None,
    preprocessing: str | Path | PreprocessingRule | None = None,
    opset_version: int = DEFAULT_OPSET,
    external_data: bool = False,
    gradient_graph: bool = False,
    gradient_layers: Sequence[str] = (),
    max_batch_size: int | None = None,
    parity_images: Path | str | None = None,
    rtol: float = RTOL,
    replace: bool = False,
    seed: int = 0,
    training: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> tuple[ExportResult, ...]:
    """Export a network of the zoo to a model repository: most are one model, some are several.

    Args:
        name: Of the network.
        repository: Made if it does not exist.
        weights: A file or a published name; without any they are random, by `seed`, and such
            that every layer has a part in the answer.
        transform_input: Whether the network re-normalises its input inside, where it can; told
            by the weights where torchvision published them.
        model_name: In the repository; the network's if not told. Parts have their own after it.
        labels: One for each class, or a file of them; published weights bring their own, and so
            do those of `eyespot train`.
        num_classes: The paper's if not told.
        input_size: Height and width, or length; the paper's if not told.
        in_channels: The paper's if not told.
        preprocessing: "imagenet", "none", a rule, or a JSON file with one; that of the
            weights or of the network, fitted to the input size, if not told.
        opset_version: Of the ONNX graph.
        external_data: Keep the weights of the graph in a file of their own.
        gradient_graph: Write the gradient as ONNX graphs as well, for servers without PyTorch.
        gradient_layers: Further layers for Grad-CAM and its kin without PyTorch, as `export`
            takes them; of a network that is one model.
        max_batch_size: Most rows of a batch; chosen by the size of the input if not told.
        parity_images: A folder of pictures to compare the artefacts on, beside random inputs.
        rtol: Tolerated difference, as a fraction of the output's scale.
        replace: Replace the latest version, and what else stands in the way.
        seed: Of random weights and random inputs.
        training: What is known of the training of the weights, beside what their file tells.
        progress: Told what is being done.

    Raises:
        ZooError: There is no such network, or the weights do not fit it.
        ExportError: The part that failed was not written, and why.
    """
    entry = model_entry(name)
    size = input_size_of(entry, in_channels=in_channels, input_size=input_size)
    parts = parts_of(entry, size, num_classes)
    if gradient_layers and len(parts) > 1:
        raise LayerNameError(
            f"{name} is exported as {len(parts)} models: layers can be named of one alone"
        )
    rule = choose_rule_for(entry, size, preprocessing, weights=weights)
    if isinstance(labels, Path):
        labels = read_labels(labels)
    if labels is not None:
        # The rest takes a while, and would end with the same mistake.
        check_labels(labels, classes=entry.num_classes if num_classes is None else num_classes)
    if progress:
        progress(f"building {name}")
    with _seeded(seed):
        module = create_model(
            name, num_classes=num_classes, in_channels=in_channels, input_size=input_size
        )
    if weights is None:
        origin = None
        set_transform_input(module, transform_input)
        for part in parts:
            inputs = part.random_inputs(rows=calibration_rows(size), seed=seed)
            enliven(part.select(module), inputs, seed=seed)
    else:
        origin = load_weights(module, weights, transform_input=transform_input)
    if labels is None and origin is not None:
        labels = _labels_of(entry, origin)
    return tuple(
        export(
            part.select(module),
            part.samples,
            repository=repository,
            name=_model_name(model_name or name, part.part),
            task=entry.task,
            input_names=None if rule is not None and part.takes_picture else part.input_names,
            output_names=part.part.outputs,
            dynamic_axes=part.dynamic_axes,
            min_size=part.min_size,
            preprocessing=rule if part.takes_picture else None,
            labels=labels,
            provenance=_provenance(entry, module, origin, dict(training or {}), seed),
            opset_version=opset_version,
            external_data=external_data,
            gradient_graph=gradient_graph,
            gradient_layers=gradient_layers,
            max_batch_size=max_batch_size,
            parity_images=parity_images if part.takes_picture else None,
            rtol=rtol,
            replace=replace,
            seed=seed,
            progress=progress,
        )
        for part in parts
    )


def calibration_rows(input_size: Sequence[int]) -> int:
    """Tell how many inputs random weights are set by."""
    return _ROWS_OF_SMALL if math.prod(input_size) <= _SMALL_INPUT else _ROWS_OF_LARGE


def choose_rule_for(
    entry: ModelEntry,
    input_size: Sequence[int],
    preprocessing: str | Path | PreprocessingRule | None,
    *,
    weights: str | Path | None,
) -> PreprocessingRule | None:
    """Choose the rule of a network of the zoo at an input size.

    Raises:
        PreprocessingFitError: There is none such, or the network takes no picture.
    """
    own = preprocessing_for(entry.name, weights)
    if len(input_size) != 3:
        if preprocessing not in (None, "none"):
            raise PreprocessingFitError(f"{entry.name} takes no picture: there is none to prepare")
        return None
    channels, height, width = input_size
    return choose_rule(
        preprocessing,
        own,
        channels=channels,
        height=None if 2 in entry.dynamic_axes else height,
        width=None if 3 in entry.dynamic_axes else width,
    )


def input_size_of(
    entry: ModelEntry, *, in_channels: int | None, input_size: int | None
) -> tuple[int, ...]:
    """Give the size of a network's input, with what was asked for in place of the paper's."""
    channels, *sides = entry.input_size
    return (
        channels if in_channels is None else in_channels,
        *(side if input_size is None else input_size for side in sides),
    )


def _model_name(name: str, part: Part) -> str:
    return f"{name}_{part.suffix}" if part.suffix else name


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw by a seed, and leave the random state of others as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _provenance(
    entry: ModelEntry,
    module: nn.Module,
    origin: WeightsOrigin | None,
    training: dict[str, Any],
    seed: int,
) -> Provenance:
    told = Provenance(
        architecture=entry.name,
        paper=entry.paper,
        year=entry.year,
        weights="random",
        training=training,
        transform_input=getattr(module, "transform_input", None),
    )
    if origin is None:
        return told._replace(training={**training, "seed": seed})
    # A file may be a published one under another name: its hash tells.
    source = origin.source
    if origin.published is not None and origin.published not in source:
        source = f"{source} (torchvision {origin.published})"
    notes = {name: note for name, note in origin.training.items() if name != _LABELS}
    return told._replace(
        weights=source,
        weights_sha256=origin.sha256,
        training={**notes, **training},
    )


def _labels_of(entry: ModelEntry, origin: WeightsOrigin) -> tuple[str, ...] | None:
    """The labels that weights bring: in their file, or as torchvision published them."""
    if _LABELS in origin.training:
        return _read_labels(origin.training[_LABELS], origin.source)
    if origin.published is None or entry.torchvision_name is None:
        return None
    weights = load_torchvision().models.get_model_weights(entry.torchvision_name)
    return tuple(weights[origin.published].meta["categories"])


def _read_labels(note: str, file_name: str) -> tuple[str, ...]:
    try:
        labels = json.loads(note)
    except json.JSONDecodeError as error:
        raise LabelsError(
            f"the labels in the header of {file_name} are no JSON: {error}"
        ) from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise LabelsError(f"the labels in the header of {file_name} are no list of texts")
    return tuple(labels)
