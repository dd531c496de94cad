"""What a network that knows the digits 0 to 4 and letters learns of 5 to 9 from five of each.

Held against the same network, from random weights, on the same pictures. Neither sees them
varied, so that both learn from the same pictures and no others; ten more of each digit choose the
best epoch of the fine-tuning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eyespot.exporter.preprocessed import Preprocessed
from eyespot.transfer.checkpoint import save_weights
from eyespot.transfer.digits import load_digits
from eyespot.transfer.examples import Examples
from eyespot.transfer.font_letters import load_letters
from eyespot.transfer.picture_split import PictureSplit
from eyespot.transfer.stages import fine_tune, recipe_from
from eyespot.transfer.training import EpochReport, accuracy, train
from eyespot.transfer.zoo_training import train_zoo_model, training_rule
from eyespot.zoo import create_model

NETWORK = "resnet20"
CHANNELS, SIDE = 1, 16
KNOWN, NEW = range(5), range(5, 10)
LABELS = tuple(map(str, NEW))
PER_CLASS = 5
SETTINGS: dict[str, object] = {
    "backbone": NETWORK,
    "method": "full",
    "channels": CHANNELS,
    "input_size": SIDE,
    "augment": "none",
    "epochs": 40,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "decay": 0.7,
}
_TO_CHOOSE_BY = 10
_PRETRAINING_EPOCHS, _SCRATCH_EPOCHS = 10, 60
_RATE = 5e-3


@dataclass(frozen=True)
class Gain:
    """Accuracy on the digits that neither saw, of one choice of pictures and one seed.

    Attributes:
        scratch: From random weights.
        transfer: From the backbone.
    """

    seed: int
    scratch: float
    transfer: float

    @property
    def points(self) -> float:
        """What the backbone was good for, in points of accuracy."""
        return 100 * (self.transfer - self.scratch)


def pretrain(path: Path, *, progress: Callable[[EpochReport], None] = lambda report: None) -> float:
    """Train the backbone on the digits 0 to 4 and on letters, and write its weights.

    Returns:
        Its accuracy on digits 0 to 4 that were held out.

    Raises:
        TransferError: It cannot be trained or written.
    """
    digits, rule = load_digits(), training_rule(NETWORK, in_channels=CHANNELS, input_size=SIDE)
    known = _some(digits.train, KNOWN)
    letters = load_letters()
    images = np.concatenate([known.images, letters.images])
    labels = np.concatenate([known.labels, letters.labels + len(KNOWN)])
    trained = train_zoo_model(
        NETWORK,
        Examples(images, labels).prepared(rule),
        held_out=_some(digits.test, KNOWN).prepared(rule),
        epochs=_PRETRAINING_EPOCHS,
        learning_rate=_RATE,
        seed=0,
        in_channels=CHANNELS,
        input_size=SIDE,
        progress=progress,
    )
    save_weights(trained.network, path, training={"data": "digits 0 to 4, letters of fonts"})
    return trained.accuracy


def few_digits(seed: int) -> PictureSplit:
    """Choose five pictures of each of the digits 5 to 9 to learn from, and ten to choose by."""
    chosen = _some(load_digits().train, NEW, most=PER_CLASS + _TO_CHOOSE_BY, seed=seed)
    place = np.arange(len(chosen)) % (PER_CLASS + _TO_CHOOSE_BY)
    parts = [
        Examples(chosen.images[rows], chosen.labels[rows])
        for rows in (place < PER_CLASS, place >= PER_CLASS)
    ]
    return PictureSplit(parts[0], parts[1], LABELS)


def unseen_digits() -> Examples:
    """Give the digits 5 to 9 that nothing is trained on or chosen by."""
    return _some(load_digits().test, NEW)


def measure_gain(weights: Path, *, seed: int) -> Gain:
    """Fine-tune the backbone, train from scratch, and measure both on unseen digits.

    Args:
        weights: Of the backbone.
        seed: Of the choice of pictures, and of both trainings.

    Raises:
        TransferError: Something of it failed.
    """
    rule = training_rule(NETWORK, in_channels=CHANNELS, input_size=SIDE)
    split, unseen = few_digits(seed), unseen_digits().prepared(rule)
    prepared = PictureSplit(split.train.prepared(rule), split.held_out.prepared(rule), LABELS)
    tuned = fine_tune(prepared, recipe_from({**SETTINGS, "weights": str(weights), "seed": seed}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = create_model(NETWORK, num_classes=len(NEW), in_channels=CHANNELS, input_size=SIDE)
    module = Preprocessed(network, rule)
    train(module, prepared.train, epochs=_SCRATCH_EPOCHS, learning_rate=_RATE, seed=seed)
    return Gain(
        seed=seed,
        scratch=accuracy(module, unseen),
        transfer=accuracy(tuned.backbone.module, unseen),
    )


def _some(
    examples: Examples, digits: Sequence[int], *, most: int | None = None, seed: int = 0
) -> Examples:
    """Take pictures of some digits, class by class, and count their classes from 0."""
    chance = np.random.default_rng(seed)
    rows = np.concatenate(
        [chance.permutation(np.flatnonzero(examples.labels == digit))[:most] for digit in digits]
    )
    return Examples(examples.images[rows], examples.labels[rows] - digits[0])
