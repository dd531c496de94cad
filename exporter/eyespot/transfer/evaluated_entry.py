"""An exported model to evaluate: its ONNX file in this process, and its PyTorch original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyespot.exporter import inspect_entry
from eyespot.exporter.labels import read_labels
from eyespot.exporter.original_file import open_original
from eyespot.exporter.parity import Run, open_session, run_session
from eyespot.transfer.errors import EvaluationError
from eyespot.transfer.evaluation import Classify, EvaluatedModel
from eyespot.v1.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, ORIGINAL_FILE, read_manifest
from eyespot.v1.preprocessing import PreprocessingRule

NO_ORIGINAL = "it has no PyTorch original: whether the two agree cannot be told"


def open_entry(repository: Path | str, name: str, version: str | None = None) -> EvaluatedModel:
    """Open an exported classifier.

    Args:
        repository: A folder of models.
        name: Of the model.
        version: The latest if not told.

    Raises:
        ExportError: There is no such entry, or its files are broken.
        EvaluationError: It is no classifier of pictures.
    """
    entry = inspect_entry(repository, name, version)
    folder = Path(repository) / name / entry.model_version
    manifest = read_manifest(folder / MANIFEST_FILE)
    if manifest.task != "classification":
        raise EvaluationError(
            f"{name} is no classifier (its task is {manifest.task}): there is no class to be right "
            "or wrong about"
        )
    rule = check_is_classifier(
        name, output_shape=entry.outputs[0].shape[1:], rule=entry.preprocessing
    )
    labels_file = Path(repository) / name / LABELS_FILE
    labels = read_labels(labels_file) if labels_file.exists() else ()
    original = None
    if entry.is_explainable:
        original = _first(
            open_original(folder / ORIGINAL_FILE, gradient_node=manifest.gradient_node)
        )
    return EvaluatedModel(
        model_name=name,
        model_version=entry.model_version,
        labels=labels_or_numbers(labels, entry.outputs[0].shape[-1]),
        rule=rule,
        max_batch_size=entry.max_batch_size,
        classify=_first(run_session(open_session(folder / MODEL_FILE))),
        original=original,
        no_original="" if original else NO_ORIGINAL,
    )


def check_is_classifier(
    name: str, *, output_shape: tuple[int | str, ...], rule: PreprocessingRule | None
) -> PreprocessingRule:
    """Check that a model takes pictures and gives one number for each class; give its rule.

    Args:
        name: Of the model.
        output_shape: Of its first output, without the rows.
        rule: None if it tells none.

    Raises:
        EvaluationError: It does not.
    """
    if len(output_shape) != 1:
        raise EvaluationError(
            f"{name} is no classifier: its output is of shape {list(output_shape)}, and one "
            "number for each class is expected"
        )
    if rule is None:
        raise EvaluationError(
            f"{name} tells no preprocessing rule: how a picture becomes its input is not known; "
            "export it with one (`eyespot add --preprocessing` gives an ONNX file one)"
        )
    return rule


def labels_or_numbers(labels: tuple[str, ...], classes: int | str) -> tuple[str, ...]:
    """Give the labels; of a model without, the numbers of its classes."""
    return labels or tuple(str(index) for index in range(int(classes)))


def _first(run: Run) -> Classify:
    """Leave out auxiliary outputs."""

    def classify(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = run(images)[0]
        return logits

    return classify
