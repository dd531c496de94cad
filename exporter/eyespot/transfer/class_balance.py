"""Classes of unequal size: weights for the loss, or an epoch in which each class comes as often."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eyespot.transfer.errors import ExamplesError
from eyespot.transfer.examples import Examples


def class_weights(examples: Examples, classes: int) -> NDArray[np.float32]:
    """Weigh each class by how rare it is, (K,): for `cross_entropy`, with a mean of 1 over rows.

    Args:
        examples: Of one class each.
        classes: How many there are.

    Raises:
        ExamplesError: A class has no picture, or pictures have several classes.
    """
    counts = _counts(examples, classes, one_each=True)
    return (len(examples) / (classes * counts)).astype(np.float32)


def positive_weights(examples: Examples) -> NDArray[np.float32]:
    """Weigh the pictures of each class against those without it, (K,): negatives over positives.

    For `binary_cross_entropy_with_logits`, as its `pos_weight`. Pictures of one class each out of
    two are taken for those of a single probability, that of class 1: (1,).

    Raises:
        ExamplesError: A class has no picture, or there are more than two and one for each picture.
    """
    if examples.is_multi_label:
        counts = _counts(examples, examples.labels.shape[1])
    else:
        counts = _counts(examples, 2, one_each=True)[1:]
    return ((len(examples) - counts) / counts).astype(np.float32)


def balanced_order(examples: Examples, classes: int, *, seed: int) -> NDArray[np.int64]:
    """Give the rows of an epoch, (N,), in which each class comes as often as any other, by chance.

    A picture of a large class is drawn at most once more than another of it: each class is gone
    through as often as it takes, in a new order each time.

    Args:
        examples: Of one class each.
        classes: How many there are.
        seed: Of the order: another for each epoch.

    Raises:
        ExamplesError: A class has no picture, or pictures have several classes.
    """
    _counts(examples, classes, one_each=True)
    chance = np.random.default_rng(seed)
    share, left = divmod(len(examples), classes)
    more = set(chance.permutation(classes)[:left].tolist())
    drawn = [
        _drawn(np.flatnonzero(examples.labels == each), share + (each in more), chance)
        for each in range(classes)
    ]
    return chance.permutation(np.concatenate(drawn))


def _drawn(rows: NDArray[np.int64], count: int, chance: np.random.Generator) -> NDArray[np.int64]:
    rounds = -(-count // len(rows))
    return np.concatenate([chance.permutation(rows) for _ in range(rounds)] or [rows])[:count]


def _counts(examples: Examples, classes: int, *, one_each: bool = False) -> NDArray[np.int64]:
    if one_each and examples.is_multi_label:
        raise ExamplesError("the pictures have several classes: weigh them by positive_weights")
    counts = examples.counts(classes)
    if len(counts) != classes:
        raise ExamplesError(f"labels tell of {len(counts)} classes, expected {classes}")
    if not counts.all():
        raise ExamplesError(f"class {int(np.argmin(counts))} has no picture to weigh it by")
    return counts
