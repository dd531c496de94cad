"""Chance that is a function of a seed and a place in the training, and of nothing before it.

So a training that is taken up in the middle draws what it would have drawn, whatever the number
of workers: the place is all the random state that there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from eyespot.transfer.class_balance import balanced_order
from eyespot.transfer.examples import Examples


def chance_at(seed: int, *place: int) -> np.random.Generator:
    """Give the source of chance of one place, such as (epoch, step)."""
    return np.random.default_rng([seed, *place])


@contextmanager
def torch_chance_at(seed: int, *place: int) -> Iterator[None]:
    """Let PyTorch, as in dropout, draw by a place; the CPU's state is given back as it was."""
    number = np.random.SeedSequence([seed, *place]).generate_state(1, np.uint64)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(number) >> 1)  # a seed has 63 bits
        yield


def epoch_order(
    examples: Examples, classes: int, *, chance: np.random.Generator, balanced: bool
) -> NDArray[np.int64]:
    """Give the rows of an epoch, (N,): each once, or each class as often as any other.

    Args:
        examples: Of one class each, if they are to be balanced.
        classes: How many there are.
        chance: Where the order comes from.
        balanced: A row of a rare class comes several times, and some of a common one never.

    Raises:
        ExamplesError: Pictures of several classes cannot be balanced.
    """
    if balanced:
        return balanced_order(examples, classes, seed=int(chance.integers(2**63)))
    return chance.permutation(len(examples))
