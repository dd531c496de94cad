"""What a saliency method needs from whatever computes gradients."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.errors import TargetError, UnknownScoreError

TOP_CLASS = -1  # as a target: the class with the largest logit of that row

# The number that is differentiated. z are the logits, c the target.
SCORES = (
    "logit",  # z_c
    "probability",  # softmax(z)_c
    "binary_logit",  # z_c - logsumexp of the other z: the log odds of c against the rest
    "binary_probability",  # sigmoid of the binary logit
)


@dataclass(frozen=True, eq=False)
class Gradients:
    """The scores of a batch and their derivatives with respect to its elements."""

    logits: NDArray[np.float32]  # (B, K)
    targets: NDArray[np.int64]  # (B,); each a class, never TOP_CLASS
    scores: NDArray[np.float32]  # (B,)
    gradients: NDArray[np.float32]  # as the inputs


class Backend(Protocol):
    """Logits and gradients of one network, on arrays; safe to call from any thread."""

    @property
    def name(self) -> str:
        """What computes, such as "torch"."""

    @property
    def classes(self) -> int:
        """K: how many classes the network tells apart."""

    def scores(self, x: NDArray[np.generic]) -> NDArray[np.float32]:
        """The logits (B, K) of a batch."""

    def gradients(
        self, x: NDArray[np.generic], targets: NDArray[np.int64], *, score: str
    ) -> Gradients:
        """Differentiate each row's score of its target once, for the whole batch.

        Args:
            x: (B, ...), what the network takes.
            targets: (B,) classes; TOP_CLASS for the row's own top class.
            score: one of SCORES.
        """


def check_targets(targets: NDArray[np.int64], *, rows: int, classes: int) -> None:
    """Check that there is one class for each row.

    Raises:
        TargetError: if not, with the classes that there are.
    """
    if targets.shape != (rows,):
        raise TargetError(f"expected one target for each of {rows} rows, found {targets.size}")
    wrong = targets[(targets != TOP_CLASS) & ((targets < 0) | (targets >= classes))]
    if wrong.size:
        raise TargetError(
            f"target {wrong[0]} is out of range: the network has the classes 0 to {classes - 1}"
        )


def check_score(score: str, *, classes: int) -> None:
    """Check that a score exists, and that a network of so many classes has it.

    Raises:
        UnknownScoreError: if not, with the scores that there are.
    """
    if score not in SCORES:
        raise UnknownScoreError(f"unknown score {score!r}; expected one of {', '.join(SCORES)}")
    if score.startswith("binary_") and classes < 2:
        raise UnknownScoreError(
            f"{score} sets a class against the others, and the network has one class: ask for logit"
        )
