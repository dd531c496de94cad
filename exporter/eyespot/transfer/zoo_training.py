"""A network of the zoo, by name, trained on pictures as the served graph will see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from eyespot.exporter.preprocessed import Preprocessed
from eyespot.exporter.rule_choice import fit_rule
from eyespot.transfer.augmentation import RandomAffine
from eyespot.transfer.criteria import criterion_for
from eyespot.transfer.errors import ExamplesError
from eyespot.transfer.examples import Examples
from eyespot.transfer.training import EpochReport, TrainingResult, accuracy, train
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo import create_model, model_entry

# So much a hand varies anyway; more, and a 6 begins to be a 9.
_VARIATION = RandomAffine(degrees=10, scale=0.1, shift=2)


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A network with its history, and how well it does on what it has never seen.

    Attributes:
        network: Takes normalised FP32 (B, C, H, W), as every network of the zoo.
        accuracy: On the held-out examples.
    """

    network: nn.Module
    accuracy: float
    result: TrainingResult


def training_rule(
    name: str, *, in_channels: int | None = None, input_size: int | None = None
) -> PreprocessingRule:
    """Tell how pictures become what a network of the zoo is trained on.

    Args:
        name: Of the network.
        in_channels: 1 for grey or 3 for colour; the paper's if not told.
        input_size: Height and width; the paper's if not told.

    Raises:
        ZooError: There is no such network.
        ExamplesError: It does not classify pictures.
        PreprocessingFitError: The rule cannot be had for these channels.
    """
    entry = model_entry(name)
    rule = entry.preprocessing
    if entry.task != "classification" or rule is None:
        raise ExamplesError(
            f"{name} cannot learn from pictures of one class each: it is a network for "
            f"{entry.task}" + (" of other inputs than pictures" if rule is None else "")
        )
    channels, height, width = entry.input_size
    if input_size is not None:
        height = width = input_size
    return fit_rule(rule, channels=in_channels or channels, height=height, width=width)


def train_zoo_model(
    name: str,
    examples: Examples,
    *,
    held_out: Examples,
    epochs: int,
    learning_rate: float,
    seed: int,
    in_channels: int | None = None,
    input_size: int | None = None,
    progress: Callable[[EpochReport], None] = lambda report: None,
) -> TrainedModel:
    """Train a network of the zoo from random weights.

    Args:
        name: Of the network.
        examples: What to learn: pixels as `training_rule` gives them.
        held_out: The same; measured once, at the end.
        epochs: How often each example is seen.
        learning_rate: At its peak.
        seed: Of the first weights and of everything else that chance decides.
        in_channels: As for `training_rule`.
        input_size: As for `training_rule`.
        progress: Called after each epoch.

    Raises:
        ZooError: There is no such network, or it cannot be built.
        TransferError: The training cannot be, or went astray.
    """
    rule = training_rule(name, in_channels=in_channels, input_size=input_size)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = create_model(
            name,
            num_classes=int(examples.labels.max()) + 1,
            in_channels=in_channels,
            input_size=input_size,
        )
    module = Preprocessed(network, rule)
    result = train(
        module,
        examples,
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        criterion=criterion_for(network),
        augment=_VARIATION,
        progress=progress,
    )
    return TrainedModel(network, accuracy(module, held_out), result)
