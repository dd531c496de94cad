"""Which pictures are worth a look: the surest mistakes, and each class from clear to unclear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eyespot.transfer.calibration import checked_labels, sigmoid, softmax
from eyespot.transfer.report.contents import ShownPicture
from eyespot.v1.preprocessing import ColorOrder

Explain: TypeAlias = Callable[[NDArray[np.uint8], NDArray[np.int64]], NDArray[np.float32]]
"""(images (N, H, W, C), classes (N,)) -> how much each pixel counted, (N, H, W)."""


def show_pictures(
    images: NDArray[np.uint8],
    logits: NDArray[Any],
    labels: NDArray[Any],
    *,
    names: Sequence[str],
    files: Sequence[str] = (),
    color_order: ColorOrder = "RGB",
    explain: Explain | None = None,
    most_mistakes: int = 12,
    most_classes: int = 20,
    most_of_class: int = 4,
) -> tuple[tuple[ShownPicture, ...], dict[str, tuple[ShownPicture, ...]]]:
    """Choose pictures for a report: its mistakes, and its examples by class.

    The examples of a class run from the picture that the network is surest of to the one
    that it would least have thought to be of the class. Where there are many classes, those of
    which most pictures are wrong are shown.

    Args:
        images: (N, H, W, C), as the graph takes them.
        logits: (N, K), what the network says of them.
        labels: As `measure` takes them.
        names: The same.
        files: Names of the pictures, by row.
        color_order: Of the images.
        explain: Tells where the network looked, for what it said; of a single logit always
            for the yes. Without it the pictures come without.
        most_mistakes: To show.
        most_classes: To show examples of.
        most_of_class: Examples of each.

    Raises:
        MetricsError: Logits and labels do not fit each other.
    """
    labels = checked_labels(logits, labels)
    answers = _answers(logits, labels, names)
    mistakes = answers.mistakes()[:most_mistakes]
    examples = answers.examples(most_classes, most_of_class)
    chosen = [*mistakes, *(each for some in examples.values() for each in some)]
    maps: list[NDArray[np.float32] | None] = [None] * len(chosen)
    rows = [answer.row for answer in chosen]
    if explain is not None and chosen:
        outputs = [answer.output if logits.shape[1] > 1 else 0 for answer in chosen]
        maps = list(explain(images[rows], np.array(outputs)))
    shown = iter(
        [
            ShownPicture(
                pixels=_as_rgb(images[answer.row], color_order),
                name=files[answer.row] if files else "",
                actual=answer.actual,
                said=answer.said,
                confidence=answer.confidence,
                attributions=found,
            )
            for answer, found in zip(chosen, maps, strict=True)
        ]
    )
    return (
        tuple(next(shown) for _ in mistakes),
        {name: tuple(next(shown) for _ in some) for name, some in examples.items()},
    )


@dataclass(frozen=True)
class _Answer:
    """What was said of the picture of a row, by its largest output or by one of several."""

    row: int
    output: int
    actual: str
    said: str
    confidence: float


class _ExclusiveAnswers:
    """One answer for each picture: its likeliest class."""

    def __init__(
        self, logits: NDArray[Any], labels: NDArray[np.int64], names: Sequence[str]
    ) -> None:
        self._probabilities = softmax(logits)  # (N, K)
        self._labels = labels  # (N,)
        self._said = self._probabilities.argmax(axis=1)  # (N,)
        self._names = names

    def mistakes(self) -> list[_Answer]:
        """Give every picture that is wrong, the surest first."""
        wrong = np.flatnonzero(self._said != self._labels).tolist()
        return sorted(map(self._answer, wrong), key=lambda answer: -answer.confidence)

    def examples(self, most_classes: int, most_of_class: int) -> dict[str, list[_Answer]]:
        """Give some pictures of each class, evenly from the surest to the least sure."""
        wrong = np.bincount(self._labels[self._said != self._labels], minlength=len(self._names))
        return {
            self._names[each]: list(map(self._answer, rows))
            for each in _worst(wrong, most_classes)
            if len(
                rows := _spread(self._labels == each, self._probabilities[:, each], most_of_class)
            )
        }

    def _answer(self, row: int) -> _Answer:
        said = int(self._said[row])
        return _Answer(
            row=row,
            output=said,
            actual=self._names[self._labels[row]],
            said=self._names[said],
            confidence=float(self._probabilities[row, said]),
        )


class _SeparateAnswers:
    """One answer for each label of each picture: yes or no."""

    def __init__(
        self, logits: NDArray[Any], labels: NDArray[np.int64], names: Sequence[str]
    ) -> None:
        self._probabilities = sigmoid(logits)  # (N, K)
        self._is_actual = labels == 1  # (N, K)
        self._is_said = logits > 0  # (N, K)
        self._names = names

    def mistakes(self) -> list[_Answer]:
        """Give every picture that is wrong, by its surest mistake; the surest first."""
        is_wrong = self._is_said != self._is_actual
        surety = np.where(is_wrong, np.abs(self._probabilities - 0.5), -1.0)  # (N, K)
        rows = np.flatnonzero(is_wrong.any(axis=1)).tolist()
        answers = [self._answer(row, int(surety[row].argmax())) for row in rows]
        return sorted(answers, key=lambda answer: -answer.confidence)

    def examples(self, most_classes: int, most_of_class: int) -> dict[str, list[_Answer]]:
        """Give some pictures that have a label, evenly from the surest to the least sure."""
        wrong = (self._is_actual & ~self._is_said).sum(axis=0)
        return {
            self._names[each]: [self._answer(row, each) for row in rows]
            for each in _worst(wrong, most_classes)
            if (
                rows := _spread(
                    self._is_actual[:, each], self._probabilities[:, each], most_of_class
                )
            )
        }

    def _answer(self, row: int, output: int) -> _Answer:
        words = (f"not {self._names[output]}", self._names[output])
        is_said = bool(self._is_said[row, output])
        probability = float(self._probabilities[row, output])
        return _Answer(
            row=row,
            output=output,
            actual=words[int(self._is_actual[row, output])],
            said=words[is_said],
            confidence=probability if is_said else 1 - probability,
        )


def _answers(
    logits: NDArray[Any], labels: NDArray[np.int64], names: Sequence[str]
) -> _ExclusiveAnswers | _SeparateAnswers:
    if logits.shape[1] == 1:  # the no of a single logit is as good as a class with the logit 0
        both = np.concatenate([np.zeros_like(logits), logits], axis=1)  # (N, 2)
        names = (f"not {names[0]}", names[0]) if len(names) == 1 else names
        return _ExclusiveAnswers(both, labels.reshape(-1), names)
    kind = _ExclusiveAnswers if labels.ndim == 1 else _SeparateAnswers
    return kind(logits, labels, names)


def _worst(wrong: NDArray[np.int64], most: int) -> list[int]:
    """Choose the classes of which most pictures are wrong, in the order of the classes."""
    worst = np.argsort(-wrong, kind="stable")[:most]
    return [int(each) for each in sorted(worst)]


def _spread(is_member: NDArray[np.bool_], probability: NDArray[np.float64], most: int) -> list[int]:
    """Choose rows of members, evenly from the likeliest to the least likely."""
    rows = np.flatnonzero(is_member)
    ordered = rows[np.argsort(-probability[rows], kind="stable")]
    places = np.linspace(0, len(ordered) - 1, min(most, len(ordered)))
    return [int(row) for row in ordered[np.rint(places).astype(np.int64)]]


def _as_rgb(pixels: NDArray[np.uint8], color_order: ColorOrder) -> NDArray[np.uint8]:
    """Turn pixels (H, W, C) into (H, W, 3)."""
    if color_order == "GRAY":
        return np.repeat(pixels, 3, axis=2)
    return pixels[:, :, ::-1] if color_order == "BGR" else pixels
