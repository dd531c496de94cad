"""The training loop: a module and examples in, the trained module and its history out.

AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) under a one-cycle learning rate (Smith and
Topin 2018, arXiv:1708.07120). The last epoch's weights are the result: nothing is chosen by
looking at held-out examples, so that a figure measured on them is an honest one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eyespot.transfer.criteria import Criterion
from eyespot.transfer.errors import DivergedError, ExamplesError, SettingsError
from eyespot.transfer.examples import Examples

Augmentation: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""(pixels (B, H, W, C), where chance comes from) -> pixels of the same shape."""

_PREDICT_ROWS = 256


@dataclass(frozen=True)
class EpochReport:
    """Where training stands after an epoch.

    Attributes:
        epoch: Counted from 1.
        loss: Mean over the epoch's examples, measured while the weights changed.
        accuracy: The same of the share classified correctly, on the varied pictures.
    """

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    seconds_left: float


@dataclass(frozen=True)
class TrainingResult:
    """The history of a training; the trained weights are the module's own."""

    reports: tuple[EpochReport, ...]
    seconds: float

    @property
    def epochs(self) -> int:
        """How often each example was seen."""
        return len(self.reports)

    @property
    def losses(self) -> tuple[float, ...]:
        """The mean loss of each epoch."""
        return tuple(report.loss for report in self.reports)


def train(
    module: nn.Module,
    examples: Examples,
    *,
    epochs: int,
    batch_size: int = 32,
    learning_rate: float = 5e-3,
    weight_decay: float = 1e-2,
    seed: int = 0,
    criterion: Criterion = functional.cross_entropy,
    augment: Augmentation | None = None,
    progress: Callable[[EpochReport], None] = lambda report: None,
) -> TrainingResult:
    """Train a module in place, and leave it in eval mode.

    On the CPU, one seed and one number of threads give the same weights from the same start.

    Args:
        module: Takes pixels (B, H, W, C) and gives logits (B, K); it normalises by itself.
        examples: What to learn.
        epochs: How often each example is seen.
        batch_size: Rows in one step.
        learning_rate: At the peak of the cycle.
        weight_decay: Of AdamW.
        seed: Of everything that chance decides: order, variations, dropout.
        criterion: What is minimised.
        augment: Varies the pictures of each step.
        progress: Called after each epoch.

    Raises:
        SettingsError: A number is out of its range.
        ExamplesError: The labels do not fit the module's classes.
        DivergedError: The loss is no number any more.
    """
    _check_settings(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        learning_rate,
        total_steps=epochs * math.ceil(len(examples) / batch_size),
        cycle_momentum=False,
    )

    def step(images: Tensor, labels: Tensor) -> Tensor:
        logits: Tensor = module(images if augment is None else augment(images, generator))
        _check_classes(labels, logits)
        loss = criterion(logits, labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        is_right = logits.detach().argmax(dim=1) == labels
        return torch.stack([loss.detach() * len(labels), is_right.sum()])

    reports: list[EpochReport] = []
    start = time.monotonic()
    with _seeded(seed), _training_mode(module):
        for epoch in range(1, epochs + 1):
            totals = [step(*batch) for batch in _batches(module, examples, batch_size, generator)]
            loss, share_right = (torch.stack(totals).sum(dim=0) / len(examples)).tolist()
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} in epoch {epoch}: try a learning rate below "
                    f"{learning_rate:g}"
                )
            seconds = time.monotonic() - start
            report = EpochReport(
                epoch=epoch,
                epochs=epochs,
                loss=loss,
                accuracy=share_right,
                seconds_left=seconds / epoch * (epochs - epoch),
            )
            reports.append(report)
            progress(report)
    return TrainingResult(tuple(reports), time.monotonic() - start)


def predict(module: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the logits (N, K) of pixels (N, H, W, C); the module must be in eval mode."""
    device = _device(module)
    with torch.inference_mode():
        parts = [
            module(torch.from_numpy(images[start : start + _PREDICT_ROWS]).to(device))
            for start in range(0, len(images), _PREDICT_ROWS)
        ]
        logits: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    return logits


def accuracy(module: nn.Module, examples: Examples) -> float:
    """Give the share of examples whose top class is right; the module must be in eval mode."""
    return float((predict(module, examples.images).argmax(axis=1) == examples.labels).mean())


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Dropout draws from torch's own generator, which is given back as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def _training_mode(module: nn.Module) -> Iterator[None]:
    module.train()
    try:
        yield
    finally:
        module.eval()


def _batches(
    module: nn.Module, examples: Examples, size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    device = _device(module)
    order = torch.randperm(len(examples), generator=generator).numpy()
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        images, labels = examples.images[rows], examples.labels[rows]
        yield torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _check_settings(*, epochs: int, batch_size: int, learning_rate: float) -> None:
    if epochs < 1:
        raise SettingsError(f"epochs must be at least 1, found {epochs}")
    if batch_size < 1:
        raise SettingsError(f"batch_size must be at least 1, found {batch_size}")
    if not 0 < learning_rate < math.inf:
        raise SettingsError(f"learning_rate must be a positive number, found {learning_rate}")


def _check_classes(labels: Tensor, logits: Tensor) -> None:
    if int(labels.max()) >= logits.shape[1]:
        raise ExamplesError(
            f"label {int(labels.max())} has no output: the network gives {logits.shape[1]} "
            f"classes, it needs at least {int(labels.max()) + 1}"
        )
