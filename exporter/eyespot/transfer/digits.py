"""The handwritten digits that scikit-learn ships: real data without a download.

Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998:
1,797 digits by 13 writers as 8x8 counts of ink, 0 to 16. Here they become pictures of the size
that LeNet-5 reads, enlarged as any program would enlarge a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyespot.transfer.errors import MissingScikitLearnError
from eyespot.transfer.examples import Examples

LABELS = tuple("0123456789")
SIZE = 32
_MOST_INK = 16
_HELD_OUT = 0.2
# Which fifth is held out never changes: a figure measured on it can be compared with another.
_SPLIT_SEED = 1998


@dataclass(frozen=True, eq=False)
class DigitsSplit:
    """Digits to train on, and a fifth that training never sees, each class in proportion."""

    train: Examples
    test: Examples


def load_digits() -> DigitsSplit:
    """Read the digits as pictures (N, 32, 32, 1), white ink on black.

    Raises:
        MissingScikitLearnError: scikit-learn is not installed.
    """
    datasets, model_selection = _import_scikit_learn()
    digits = datasets.load_digits()  # digits.images (N, 8, 8), 0.0 to 16.0
    labels = digits.target.astype(np.int64)
    images = np.stack([_enlarge(ink) for ink in digits.images])[..., None]  # -> (N, 32, 32, 1)
    train, test = model_selection.train_test_split(
        np.arange(len(labels)), test_size=_HELD_OUT, stratify=labels, random_state=_SPLIT_SEED
    )
    return DigitsSplit(
        train=Examples(images[train], labels[train]), test=Examples(images[test], labels[test])
    )


def _enlarge(ink: NDArray[np.float64]) -> NDArray[np.uint8]:
    picture = Image.fromarray(np.rint(ink * (255 / _MOST_INK)).astype(np.uint8))
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def _import_scikit_learn() -> tuple[Any, Any]:
    try:
        from sklearn import datasets, model_selection
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "sklearn":
            raise
        raise MissingScikitLearnError(
            "the digits come with scikit-learn, which is not installed: "
            "pip install 'eyespot[transfer]'"
        ) from None
    return datasets, model_selection
