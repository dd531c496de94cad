"""From a fine-tuned network to a model of the repository, with its proof and its past.

A network of a single probability is exported with two logits, 0 and its own: their softmax is
the probability that it was trained to give, and whoever serves, classifies or explains needs to
know of no other kind of classifier.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eyespot.exporter import ExportResult, RepositoryError, export
from eyespot.exporter.labels import check_labels, read_labels
from eyespot.exporter.pictures import MAX_PICTURES
from eyespot.exporter.repository import check_name
from eyespot.transfer.examples import Examples
from eyespot.transfer.stages.fine_tuning import FineTuned
from eyespot.v1.manifest import LABELS_FILE, Provenance


class TwoSided(nn.Module):
    """A network of one logit z as one of two, 0 and z.

    Args:
        network: Gives (B, 1).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Give (B, 2)."""
        logit: Tensor = self.network(x)
        return torch.cat([torch.zeros_like(logit), logit], dim=1)  # (B, 1) -> (B, 2)


def export_fine_tuned(
    tuned: FineTuned,
    repository: Path | str,
    *,
    name: str,
    replace: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ExportResult:
    """Export a fine-tuned network, compared with its original on the pictures held out.

    Args:
        tuned: What `fine_tune` gave.
        repository: Made if it does not exist.
        name: Of the model.
        replace: Replace the latest version, and what else stands in the way.
        progress: Told what is being done.

    Raises:
        ExportError: Nothing was written, and why.
    """
    rule, held_out = tuned.backbone.rule, tuned.split.held_out
    network = tuned.network
    if tuned.recipe.task == "single-probability":
        network = TwoSided(network).eval()
    height, width, channels = held_out.images.shape[1:]
    with tempfile.TemporaryDirectory() as folder:
        _spread(held_out, MAX_PICTURES).save_pictures(Path(folder))
        return export(
            network,
            torch.zeros(1, channels, height, width),
            repository=repository,
            name=name,
            preprocessing=rule,
            labels=tuned.split.labels,
            independent_classes=tuned.recipe.task == "multi-label",
            provenance=provenance_of(tuned),
            parity_images=Path(folder),
            replace=replace,
            seed=tuned.recipe.seed,
            progress=progress,
        )


def provenance_of(tuned: FineTuned) -> Provenance:
    """Tell of the backbone and its weights, and of the fine-tuning."""
    metrics = tuned.metrics
    numbers = {
        field.name: getattr(metrics, field.name)
        for field in dataclasses.fields(metrics)
        if isinstance(getattr(metrics, field.name), int | float)
    }
    return tuned.backbone.provenance._replace(
        fine_tuning={
            "data_sha256": tuned.split.digest,
            "pictures": len(tuned.split.train),
            "unfrozen": [block.name for block in tuned.unfrozen],
            "temperature": tuned.temperature and tuned.temperature.value,
            "metrics": {**numbers, "calibration_error": metrics.calibration.error},
            "recipe": told_recipe(tuned),
        },
    )


def told_recipe(tuned: FineTuned) -> dict[str, Any]:
    """Give the settings without the folders of this machine."""
    told = {name: value for name, value in tuned.recipe.to_json().items() if value is not None}
    for name in ("backbone", "weights", "val"):
        if name in told:
            told[name] = Path(told[name]).name
    return told


def require_place(
    repository: Path | str, *, name: str, labels: Sequence[str] = (), replace: bool = False
) -> None:
    """Check that a model can be written, before hours are spent on it.

    Args:
        repository: It need not exist yet.
        name: Of the model.
        labels: That it will have; empty where they are not known yet.
        replace: A model of other classes may be replaced.

    Raises:
        RepositoryError: The name is none, the folder cannot be written, or a model of other
            classes is there.
        LabelsError: The labels cannot be written one a line.
    """
    repository = Path(repository)
    check_name(name)
    existing = next(path for path in (repository, *repository.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=existing, prefix=".eyespot-"):
            pass
    except OSError as error:
        raise RepositoryError(
            f"{repository} cannot be written ({existing}: {error.strerror}): give another "
            "--output, or --no-export"
        ) from error
    there = repository / name / LABELS_FILE
    if not labels:
        return
    check_labels(labels, classes=len(labels))
    if not replace and there.exists() and read_labels(there) != tuple(labels):
        raise RepositoryError(
            f"{name} in {repository} has other classes: choose another name, or --replace it"
        )


def _spread(examples: Examples, most: int) -> Examples:
    """Take some of the pictures, from all over."""
    rows = np.linspace(0, len(examples) - 1, min(most, len(examples))).round().astype(np.int64)
    rows = np.unique(rows)
    labels = np.arange(len(rows), dtype=np.int64)  # they only name the files
    return Examples(np.ascontiguousarray(examples.images[rows]), labels)
