"""Stage 1: a head learns from features that were computed once; it takes seconds.

The backbone is not in the room: nothing of it can change. The learning rate finds itself, and
the training ends when the pictures held out have not been told better for a while; the best
epoch's weights are the result. One seed gives one head.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyespot.transfer.errors import DivergedError, SettingsError
from eyespot.transfer.examples import Examples
from eyespot.transfer.stages.chance import chance_at, epoch_order, torch_chance_at
from eyespot.transfer.stages.learning_rate_range import find_learning_rate
from eyespot.transfer.stages.objective import Objective
from eyespot.transfer.stages.score import Epoch, Progress, Score

STAGE = "head"
_CHANCES = _ORDER, _DROPOUT = range(2)
_MEASURED_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class FeatureExamples:
    """Features, and the pictures that they are of.

    Attributes:
        values: FP32 (N, ...), one row for each picture: what the head takes.
        examples: The pictures; their classes are what counts.
    """

    values: Tensor
    examples: Examples

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.examples)


@dataclass(frozen=True)
class HeadSettings:
    """How the head learns.

    Attributes:
        epochs: At most.
        patience: Epochs without a better score on what is held out, after which it ends.
        batch_size: Rows of a step.
        learning_rate: Found by itself if None.
        weight_decay: Of AdamW (Loshchilov and Hutter, 2019, arXiv:1711.05101).
        balanced: Each class is drawn as often as any other.
        seed: Of all that chance decides.
    """

    epochs: int = 200
    patience: int = 20
    batch_size: int = 64
    learning_rate: float | None = None
    weight_decay: float = 1e-2
    balanced: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_size"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise SettingsError(
                f"learning_rate must be a positive number, found {self.learning_rate}"
            )


@dataclass(frozen=True)
class HeadResult:
    """What stage 1 came to; the head has the weights of the best epoch.

    Attributes:
        best: Score of these weights on the pictures held out.
        best_epoch: Counted from 1; 0 is the head as it came.
        history: Each epoch.
        learning_rate: That was found, or told.
        seconds: Spent.
    """

    best: Score
    best_epoch: int
    history: tuple[Epoch, ...]
    learning_rate: float
    seconds: float


def train_head(
    head: nn.Module,
    examples: FeatureExamples,
    *,
    held_out: FeatureExamples,
    objective: Objective,
    settings: HeadSettings | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> HeadResult:
    """Train a head in place; it is in evaluation mode afterwards.

    Args:
        head: From features (B, ...) to logits (B, outputs): the head and what comes after it.
        examples: To learn from.
        held_out: They end the training, and choose the best epoch.
        objective: What is minimised.
        settings: How it learns.
        progress: Called after each epoch.

    Raises:
        DivergedError: The loss is no number any more.
        SettingsError: A setting is out of its range.
    """
    settings = settings or HeadSettings()
    training = _Training(head, examples, held_out, objective, settings)
    try:
        with torch_chance_at(settings.seed * len(_CHANCES) + _DROPOUT):
            return training.run(progress)
    finally:
        head.eval()


@dataclass(eq=False)
class _Training:
    head: nn.Module
    examples: FeatureExamples
    held_out: FeatureExamples
    objective: Objective
    settings: HeadSettings

    def __post_init__(self) -> None:
        self.targets = self.objective.targets(self.examples.examples.labels)
        self.held_out_targets = self.objective.targets(self.held_out.examples.labels)
        self.steps = math.ceil(len(self.examples) / self.settings.batch_size)
        self.parameters = [value for value in self.head.parameters() if value.requires_grad]

    def run(self, progress: Callable[[Progress], None]) -> HeadResult:
        began = time.monotonic()
        rate = self.settings.learning_rate or self._find_rate()
        optimizer = torch.optim.AdamW(
            self.parameters, lr=rate, weight_decay=self.settings.weight_decay
        )
        best, best_epoch, weights = self._score(), 0, self._weights()
        history: list[Epoch] = []
        while len(history) < self.settings.epochs:
            number = len(history) + 1
            loss, accuracy = self._epoch(optimizer, number)
            found, seconds = self._score(), time.monotonic() - began
            history.append(Epoch(STAGE, number, loss, accuracy, found, rate, seconds))
            if found.beats(best):
                best, best_epoch, weights = found, number, self._weights()
            left = min(self.settings.epochs, best_epoch + self.settings.patience) - number
            progress(
                Progress(
                    stage=STAGE,
                    epoch=number,
                    epochs=self.settings.epochs,
                    step=self.steps,
                    steps=self.steps,
                    loss=loss,
                    accuracy=accuracy,
                    seconds_left=seconds / number * max(left, 0),
                )
            )
            if left <= 0:
                break
        self.head.load_state_dict(weights)
        return HeadResult(best, best_epoch, tuple(history), rate, time.monotonic() - began)

    def _epoch(self, optimizer: torch.optim.Optimizer, number: int) -> tuple[float, float]:
        """Give the mean loss and the share of right answers over an epoch."""
        loss_sum = right_sum = 0.0
        order = self._order(number)
        size = self.settings.batch_size
        for step, start in enumerate(range(0, len(order), size)):
            rows = order[start : start + size]
            loss, right = self._loss(rows)
            if not math.isfinite(float(loss.detach())):
                raise DivergedError(
                    f"the loss of the head is {float(loss.detach())} at step {step + 1} of "
                    f"{self.steps} in epoch {number}: are there features that are no numbers, or "
                    "is the learning rate too high?"
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss_sum += float(loss.detach()) * len(rows)
            right_sum += float(right)
        return loss_sum / len(order), right_sum / len(order)

    def _loss(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Give the loss of some rows, and how many of them are told right."""
        self.head.train()
        chosen = torch.from_numpy(rows)
        logits = self.head(self.examples.values[chosen])
        targets = self.targets[chosen]
        right = self.objective.right(logits.detach(), targets).sum()
        return self.objective.loss(logits, targets), right

    def _find_rate(self) -> float:
        order = self._order(0)
        size = self.settings.batch_size

        def loss_at(step: int) -> Tensor:
            start = step % self.steps * size
            return self._loss(order[start : start + size])[0]

        return find_learning_rate(self.parameters, loss_at, weight_decay=self.settings.weight_decay)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return epoch_order(
            self.examples.examples,
            self.objective.labels,
            chance=chance_at(self.settings.seed * len(_CHANCES) + _ORDER, epoch),
            balanced=self.settings.balanced,
        )

    def _score(self) -> Score:
        self.head.eval()
        with torch.no_grad():
            values = self.held_out.values
            parts = [
                self.head(values[start : start + _MEASURED_AT_ONCE])
                for start in range(0, len(values), _MEASURED_AT_ONCE)
            ]
            logits = torch.cat(parts)
        return Score(
            accuracy=float(self.objective.right(logits, self.held_out_targets).mean()),
            loss=float(self.objective.loss(logits, self.held_out_targets)),
        )

    def _weights(self) -> dict[str, Tensor]:
        return copy.deepcopy(self.head.state_dict())
