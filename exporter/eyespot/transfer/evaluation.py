"""Evaluation: what a model that is exported, or served, says of pictures that it should know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eyespot.transfer.errors import EvaluationError
from eyespot.transfer.evaluation_pictures import EvaluationPictures
from eyespot.transfer.mcnemar import McNemarTest, mcnemar_test
from eyespot.transfer.metrics import Metrics, measure
from eyespot.v1.preprocessing import PreprocessingRule

_ROWS = 32

Classify: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""images (B, H, W, C) -> logits (B, K)."""


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """A classifier that can be asked, wherever it runs.

    Attributes:
        model_name: Its name.
        model_version: Its version.
        labels: Names of its classes, one for each output.
        rule: From a picture to what it takes.
        max_batch_size: Most rows that it takes at once; 0 for one.
        classify: Asks it.
        original: Asks the PyTorch original; None if there is none.
        no_original: Why there is none.
    """

    model_name: str
    model_version: str
    labels: tuple[str, ...]
    rule: PreprocessingRule
    max_batch_size: int
    classify: Classify
    original: Classify | None = None
    no_original: str = ""


@dataclass(frozen=True)
class Agreement:
    """How far the answers are from those of the PyTorch original.

    Attributes:
        rows: Compared.
        agreeing: Rows with the same top class, or with the same yes and no to each label.
        max_abs_diff: Largest difference of any logit.
    """

    rows: int
    agreeing: int
    max_abs_diff: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured of one model.

    Attributes:
        logits: (N, K), what it said.
        agreement: With the PyTorch original; None if there is none.
        no_agreement: Why there is none.
    """

    model_name: str
    model_version: str
    metrics: Metrics
    logits: NDArray[np.float32]
    agreement: Agreement | None
    no_agreement: str = ""


def evaluate(
    model: EvaluatedModel,
    pictures: EvaluationPictures,
    *,
    progress: Callable[[int], None] = lambda rows: None,
) -> Evaluation:
    """Ask a model about pictures, and measure its answers.

    Args:
        model: To ask.
        pictures: Prepared for it, with labels by its own indices.
        progress: Called with the number of rows that were just answered; those that the
            original answers count as well.

    Raises:
        MetricsError: Its answers are no numbers.
    """
    rows = min(max(model.max_batch_size, 1), _ROWS)
    logits = _ask(model.classify, pictures.images, rows, progress)
    metrics = measure(logits, pictures.labels, names=pictures.names)
    agreement = None
    if model.original is not None:
        expected = _ask(model.original, pictures.images, rows, progress)
        agreement = agree(logits, expected, is_exclusive=pictures.labels.ndim == 1)
    return Evaluation(
        model_name=model.model_name,
        model_version=model.model_version,
        metrics=metrics,
        logits=logits,
        agreement=agreement,
        no_agreement=model.no_original,
    )


def compare(
    first: Evaluation,
    first_pictures: EvaluationPictures,
    second: Evaluation,
    second_pictures: EvaluationPictures,
) -> McNemarTest:
    """Tell whether one of two models is better, on the pictures that both could be asked about."""
    common = set(first_pictures.files) & set(second_pictures.files)
    right = [
        dict(zip(pictures.files, is_right(each.logits, pictures.labels).tolist(), strict=True))
        for each, pictures in ((first, first_pictures), (second, second_pictures))
    ]
    ordered = [name for name in first_pictures.files if name in common]
    return mcnemar_test(*(np.array([some[name] for name in ordered]) for some in right))


def agree(logits: NDArray[Any], expected: NDArray[Any], *, is_exclusive: bool) -> Agreement:
    """Compare logits (N, K) with those of the original.

    Raises:
        EvaluationError: They are not of the same classes.
    """
    if logits.shape != expected.shape:
        raise EvaluationError(
            f"the PyTorch original gives {expected.shape[1]} numbers for each picture, the model "
            f"{logits.shape[1]}: it is the original of another model"
        )
    found, right = (_decisions(each, is_exclusive=is_exclusive) for each in (logits, expected))
    return Agreement(
        rows=len(logits),
        agreeing=int((found == right).all(axis=1).sum()),
        max_abs_diff=float(np.abs(logits - expected).max()),
    )


def is_right(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell of each picture (N,) whether its answer is right; of several labels, all of them."""
    decisions = _decisions(logits, is_exclusive=labels.ndim == 1)
    expected = labels.reshape(len(labels), -1)  # (N,) -> (N, 1)
    right: NDArray[np.bool_] = (decisions == expected).all(axis=1)
    return right


def _decisions(logits: NDArray[Any], *, is_exclusive: bool) -> NDArray[np.int64]:
    """Give the top class (N, 1), or a yes or no for each logit (N, K)."""
    if is_exclusive and logits.shape[1] > 1:
        top: NDArray[np.int64] = logits.argmax(axis=1)
        return top[:, None]  # (N,) -> (N, 1)
    return (logits > 0).astype(np.int64)


def _ask(
    classify: Classify, images: NDArray[np.uint8], rows: int, progress: Callable[[int], None]
) -> NDArray[np.float32]:
    parts = []
    for start in range(0, len(images), rows):
        parts.append(classify(images[start : start + rows]))
        progress(len(parts[-1]))
    return np.concatenate(parts)
