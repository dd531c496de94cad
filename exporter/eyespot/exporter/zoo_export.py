"""A network of the zoo, by name, into a model repository."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from eyespot.exporter.export import ExportResult, Progress, export
from eyespot.exporter.labels import check_labels, read_labels
from eyespot.exporter.onnx_file import DEFAULT_OPSET
from eyespot.exporter.parity import RTOL
from eyespot.exporter.rule_choice import choose_rule
from eyespot.v1.manifest import Provenance
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo import (
    ModelEntry,
    WeightsOrigin,
    create_model,
    load_torchvision,
    load_weights,
    model_entry,
    preprocessing_for,
)


def export_zoo_model(
    name: str,
    *,
    repository: Path | str,
    weights: str | Path | None = None,
    model_name: str | None = None,
    labels: Sequence[str] | Path | None = None,
    num_classes: int | None = None,
    input_size: int | None = None,
    in_channels: int | None = None,
    preprocessing: str | Path | PreprocessingRule | None = None,
    opset_version: int = DEFAULT_OPSET,
    max_batch_size: int | None = None,
    parity_images: Path | str | None = None,
    rtol: float = RTOL,
    force: bool = False,
    seed: int = 0,
    training: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> ExportResult:
    """Export a network of the zoo to a model repository.

    Args:
        name: Of the network.
        repository: Made if it does not exist.
        weights: A file or a published name; without any they are random, by `seed`.
        model_name: In the repository; the network's if not told.
        labels: One for each class, or a file of them; published weights bring their own.
        num_classes: The paper's if not told.
        input_size: Height and width; the paper's if not told.
        in_channels: The paper's if not told.
        preprocessing: "imagenet", "none", a rule, or a JSON file with one; that of the
            weights or of the network, fitted to the input size, if not told.
        opset_version: Of the ONNX graph.
        max_batch_size: Most rows of a batch; chosen by the size of the input if not told.
        parity_images: A folder of pictures to compare the artefacts on, beside random inputs.
        rtol: Tolerated difference, as a fraction of the output's scale.
        force: Replace the latest version, and what else stands in the way.
        seed: Of random weights and random inputs.
        training: What is known of the training of the weights, beside what their file tells.
        progress: Told what is being done.

    Raises:
        ZooError: There is no such network, or the weights do not fit it.
        ExportError: Nothing was written, and why.
    """
    entry = model_entry(name)
    channels = entry.input_size[0] if in_channels is None else in_channels
    height, width = entry.input_size[1:] if input_size is None else (input_size, input_size)
    rule = choose_rule(
        preprocessing,
        preprocessing_for(name, weights),
        channels=channels,
        height=height,
        width=width,
    )
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
    origin = None if weights is None else load_weights(module, weights)
    if labels is None and origin is not None:
        labels = _published_labels(entry, origin)
    return export(
        module,
        torch.zeros(1, channels, height, width),
        repository=repository,
        name=model_name or name,
        preprocessing=rule,
        labels=labels,
        provenance=_provenance(entry, origin, dict(training or {}), seed),
        opset_version=opset_version,
        max_batch_size=max_batch_size,
        parity_images=parity_images,
        rtol=rtol,
        force=force,
        seed=seed,
        progress=progress,
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw by a seed, and leave the random state of others as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _provenance(
    entry: ModelEntry, origin: WeightsOrigin | None, training: dict[str, Any], seed: int
) -> Provenance:
    told = Provenance(
        architecture=entry.name,
        paper=entry.paper,
        year=entry.year,
        weights="random",
        training=training,
    )
    if origin is None:
        return dataclasses.replace(told, training={**training, "seed": seed})
    # A file may be a published one under another name: its hash tells.
    source = origin.source
    if origin.published is not None and origin.published not in source:
        source = f"{source} (torchvision {origin.published})"
    return dataclasses.replace(
        told,
        weights=source,
        weights_sha256=origin.sha256,
        training={**origin.training, **training},
    )


def _published_labels(entry: ModelEntry, origin: WeightsOrigin) -> tuple[str, ...] | None:
    if origin.published is None or entry.torchvision_name is None:
        return None
    weights = load_torchvision().models.get_model_weights(entry.torchvision_name)
    return tuple(weights[origin.published].meta["categories"])
