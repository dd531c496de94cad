"""Stage 2: the last blocks learn, slowly, on varied pictures; the best epoch counts.

What comes in is the network after stage 1, and it is the first that the best is chosen from: the
result is never worse than it on the pictures held out. Between any two steps the training can be
written down and taken up again, and goes on as if nothing had been: chance follows from the seed
and the step, and the state holds everything else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyespot.exporter.preprocessed import Preprocessed
from eyespot.transfer.errors import DivergedError, InterruptedTrainingError, SettingsError
from eyespot.transfer.examples import Examples
from eyespot.transfer.stages.blocks import Block
from eyespot.transfer.stages.chance import chance_at, epoch_order, torch_chance_at
from eyespot.transfer.stages.freezing import only_training, unfrozen_state
from eyespot.transfer.stages.interruption import noticing_interruption
from eyespot.transfer.stages.machine import Machine
from eyespot.transfer.stages.measuring import logits_of, score
from eyespot.transfer.stages.mixup import mix_up
from eyespot.transfer.stages.moving_average import MovingAverage
from eyespot.transfer.stages.objective import Objective
from eyespot.transfer.stages.optimizer_state import load_optimizer, optimizer_tensors
from eyespot.transfer.stages.schedule import Schedule
from eyespot.transfer.stages.score import Epoch, Progress, Score
from eyespot.transfer.stages.training_state import TrainingState, read_state, write_state
from eyespot.transfer.stages.variation import epoch_batches
from eyespot.v1.preprocessing import PreprocessingRule

STAGE = "blocks"
# What chance decides, told apart.
_CHANCES = _ORDER, _DROPOUT, _MIXTURE, _VARIATION = range(4)


@dataclass(frozen=True)
class BlockSettings:
    """How the blocks learn.

    Attributes:
        epochs: Passes over the pictures.
        batch_size: Pictures of a step.
        learning_rate: Of the last block and the head, at its peak.
        decay: Each earlier block learns at so many times the rate of the next.
        weight_decay: Of AdamW (Loshchilov and Hutter, 2019, arXiv:1711.05101).
        gradual: Blocks begin to learn one after another, the last first.
        augmentation: How pictures are varied; one of `variation.AUGMENTATIONS`.
        mixup: Alpha of mixup; 0 mixes nothing.
        ema: Decay of the moving average of the weights, which is then what is measured and
            kept; 0 keeps none.
        balanced: Each class is drawn as often as any other.
        seed: Of all that chance decides.
    """

    epochs: int = 8
    batch_size: int = 32
    learning_rate: float = 1e-4
    decay: float = 1 / 2.6
    weight_decay: float = 1e-2
    gradual: bool = False
    augmentation: str = "natural"
    mixup: float = 0.0
    ema: float = 0.0
    balanced: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, found {getattr(self, name)}")
        for name in ("learning_rate", "decay"):
            if not 0 < getattr(self, name) < math.inf:
                raise SettingsError(
                    f"{name} must be a positive number, found {getattr(self, name)}"
                )
        if not 0 <= self.ema < 1:
            raise SettingsError(f"ema must lie in [0, 1), found {self.ema}")
        if not 0 <= self.mixup < math.inf:
            raise SettingsError(f"mixup must be 0 or more, found {self.mixup}")


@dataclass(frozen=True)
class CheckpointPlace:
    """Where a training is written down.

    Attributes:
        path: Of the file.
        settings: What must be the same where it is taken up again.
        seconds: Within an epoch it is written so often; at its end it always is.
        resume: Take up what is there.
    """

    path: Path
    settings: Mapping[str, Any]
    seconds: float = 180.0
    resume: bool = False


@dataclass(frozen=True)
class BlockResult:
    """What stage 2 came to; the network has the weights of the best epoch.

    Attributes:
        best: Score of these weights on the pictures held out.
        best_epoch: Counted from 1; 0 is what came in.
        history: Each epoch, those of earlier stages first.
        blocks: That have learnt, the last first.
        seconds: Spent, those before an interruption as well.
    """

    best: Score
    best_epoch: int
    history: tuple[Epoch, ...]
    blocks: tuple[Block, ...]
    seconds: float


def train_blocks(
    network: nn.Module,
    examples: Examples,
    *,
    held_out: Examples,
    rule: PreprocessingRule,
    head: str,
    blocks: Sequence[Block],
    objective: Objective,
    settings: BlockSettings | None = None,
    machine: Machine | None = None,
    history: Sequence[Epoch] = (),
    checkpoint: CheckpointPlace | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> BlockResult:
    """Train the last blocks and the head of a network in place.

    Nothing outside of them changes, batch norm's statistics included.

    Args:
        network: Takes normalised FP32 (B, C, H, W), and gives logits (B, outputs).
        examples: To learn from, as `rule` gives them.
        held_out: The best epoch is chosen by these.
        rule: Its normalisation comes before the network.
        head: Name of the head.
        blocks: That learn, the last first (see `chosen_blocks`).
        objective: What is minimised.
        settings: How they learn.
        machine: Where; on the CPU if not told.
        history: Of earlier stages.
        checkpoint: Where to write the training down; nowhere if not told.
        progress: Called after each step.

    Raises:
        DivergedError: The loss is no number any more; the step and the checkpoint are told.
        InterruptedTrainingError: The user ended it, and it is written down.
        CheckpointError: It cannot be written down, or not be taken up.
        SettingsError: A setting is out of its range.
    """
    machine = machine or Machine()
    network.to(machine.device)
    if machine.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        with only_training(network, blocks, head=head) as parameters:
            training = _Training(
                module=Preprocessed(network, rule).to(machine.device),
                examples=examples,
                held_out=held_out,
                parameters=parameters,
                blocks=tuple(blocks),
                head=head,
                objective=objective,
                settings=settings or BlockSettings(),
                machine=machine,
                checkpoint=checkpoint,
                progress=progress,
            )
            return training.run(history)
    finally:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


@dataclass(eq=False)
class _Training:
    """The loop, and what it writes down."""

    module: Preprocessed
    examples: Examples
    held_out: Examples
    parameters: Mapping[str, nn.Parameter]
    blocks: tuple[Block, ...]
    head: str
    objective: Objective
    settings: BlockSettings
    machine: Machine
    checkpoint: CheckpointPlace | None
    progress: Callable[[Progress], None]
    schedule: Schedule = field(init=False)
    optimizer: torch.optim.AdamW = field(init=False)
    average: MovingAverage | None = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.schedule = Schedule(
            learning_rate=settings.learning_rate,
            decay=settings.decay,
            epochs=settings.epochs,
            steps=math.ceil(len(self.examples) / settings.batch_size),
            blocks=len(self.blocks),
            gradual=settings.gradual,
        )
        self.optimizer = torch.optim.AdamW(self._groups(), weight_decay=settings.weight_decay)
        self.average = MovingAverage(self.parameters, decay=settings.ema) if settings.ema else None

    def run(self, history: Sequence[Epoch]) -> BlockResult:
        state = self._first_state(history)
        began = written = time.monotonic() - state.seconds
        with noticing_interruption() as is_interrupted:
            while state.epoch < self.settings.epochs:
                for inputs, targets in self._batches(state):
                    self._step(state, inputs, targets)
                    now = time.monotonic()
                    state.seconds = now - began
                    self._tell(state)
                    if is_interrupted():
                        self._end_early(state)
                    if self.checkpoint and now - written >= self.checkpoint.seconds:
                        self._write(state)
                        written = now
                self._end_epoch(state)
                self._write(state)
        self.module.network.load_state_dict(state.tensors["best"], strict=False)
        return BlockResult(
            best=state.best,
            best_epoch=state.best_epoch,
            history=tuple(state.history),
            blocks=self.blocks,
            seconds=state.seconds,
        )

    def _groups(self) -> list[dict[str, Any]]:
        """Give the optimiser the head and each block as a group of its own, the last first."""
        by_depth: dict[int, list[nn.Parameter]] = {}
        for name, value in self.parameters.items():
            by_depth.setdefault(self._depth(name), []).append(value)
        return [{"params": by_depth[depth], "depth": depth} for depth in sorted(by_depth)]

    def _depth(self, name: str) -> int:
        """Tell how many blocks lie after a parameter; the head learns as the last block does."""
        return next((at for at, block in enumerate(self.blocks) if block.holds(name)), 0)

    def _first_state(self, history: Sequence[Epoch]) -> TrainingState:
        place = self.checkpoint
        if place is not None and place.resume and place.path.exists():
            state = read_state(place.path, settings=place.settings)
            self.module.network.load_state_dict(state.tensors["network"], strict=False)
            load_optimizer(self.optimizer, state.tensors.get("optimizer", {}))
            if self.average is not None:
                self.average.restore(state.tensors["average"])
            return state
        state = TrainingState(best=self._score(), history=list(history))
        state.tensors["best"] = self._state_of_network()
        self._write(state)
        return state

    def _batches(self, state: TrainingState) -> Iterator[tuple[Tensor, Tensor]]:
        """Give what is left of an epoch: varied pixels (B, H, W, C) and targets (B, outputs)."""
        rows = self._order(state.epoch)
        size = self.settings.batch_size
        batches = [rows[start : start + size] for start in range(0, len(rows), size)][state.step :]
        pixels = epoch_batches(
            self.examples.images,
            batches,
            epoch=state.epoch,
            augmentation=self.settings.augmentation,
            seed=self._seed(_VARIATION),
            workers=self.machine.workers,
        )
        for batch, images in zip(batches, pixels, strict=True):
            targets = self.objective.targets(self.examples.labels[batch])
            yield images.to(self.machine.device), targets.to(self.machine.device)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return epoch_order(
            self.examples,
            self.objective.labels,
            chance=chance_at(self._seed(_ORDER), epoch),
            balanced=self.settings.balanced,
        )

    def _step(self, state: TrainingState, images: Tensor, targets: Tensor) -> None:
        at = state.epoch * self.schedule.steps + state.step
        self._unfreeze(state.epoch, at)
        inputs, mixed = mix_up(
            images.float(),
            targets,
            alpha=self.settings.mixup,
            chance=chance_at(self._seed(_MIXTURE), at),
        )
        with torch_chance_at(self._seed(_DROPOUT), at), self.machine.computing():
            logits = self.module(inputs)
        loss = self.objective.loss(logits, mixed)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._require_finite(float(loss.detach()), state)
        self.optimizer.step()
        if self.average is not None:
            self.average.add(self.parameters, step=at + 1)
        state.step += 1
        state.loss_sum += float(loss.detach()) * len(targets)
        state.right_sum += float(self.objective.right(logits.detach(), targets).sum())

    def _unfreeze(self, epoch: int, step: int) -> None:
        learning = max(1, self.schedule.learning_blocks(epoch))  # the head always does
        for name, value in self.parameters.items():
            value.requires_grad_(self._depth(name) < learning)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(group["depth"], step)

    def _require_finite(self, loss: float, state: TrainingState) -> None:
        """Look before the step is made: what is written down later is always sound."""
        gradients = [value.grad for value in self.parameters.values() if value.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if math.isfinite(loss) and math.isfinite(norm):
            return
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient is {norm}"
        raise DivergedError(
            f"{what} at step {state.step + 1} of {self.schedule.steps} in epoch "
            f"{state.epoch + 1}: {self._told_of_checkpoint()}; try a learning rate below "
            f"{self.settings.learning_rate:g}"
        )

    def _told_of_checkpoint(self) -> str:
        if self.checkpoint is None:
            return "no checkpoint was asked for"
        return f"the last good checkpoint is {self.checkpoint.path}"

    def _end_epoch(self, state: TrainingState) -> None:
        found = self._score()
        state.epoch += 1
        last = state.epoch * self.schedule.steps - 1
        count = len(self.examples)
        state.history.append(
            Epoch(
                stage=STAGE,
                number=state.epoch,
                loss=state.loss_sum / count,
                accuracy=state.right_sum / count,
                held_out=found,
                learning_rate=self.schedule.rate(0, last),
                seconds=state.seconds,
            )
        )
        state.step, state.loss_sum, state.right_sum = 0, 0.0, 0.0
        if found.beats(state.best):
            state.best, state.best_epoch = found, state.epoch
            state.tensors["best"] = self._state_of_network()
            if self.average is not None:
                state.tensors["best"].update(self.average.copy())

    def _score(self) -> Score:
        """Measure on what is held out, with the average of the weights where there is one."""
        weights = {} if self.average is None else self.average.weights
        logits = logits_of(
            self.module,
            self.held_out.images,
            machine=self.machine,
            weights={f"network.{name}": value for name, value in weights.items()},
        )
        return score(logits, self.held_out, self.objective)

    def _state_of_network(self) -> dict[str, Tensor]:
        return unfrozen_state(self.module.network, self.blocks, head=self.head)

    def _write(self, state: TrainingState) -> None:
        if self.checkpoint is None:
            return
        state.tensors["network"] = self._state_of_network()
        state.tensors["optimizer"] = optimizer_tensors(self.optimizer)
        if self.average is not None:
            state.tensors["average"] = self.average.copy()
        write_state(state, self.checkpoint.path, settings=self.checkpoint.settings)

    def _end_early(self, state: TrainingState) -> None:
        self._write(state)
        raise InterruptedTrainingError(
            f"interrupted in epoch {state.epoch + 1} after step {state.step} of "
            f"{self.schedule.steps}: "
            + (
                "nothing was written, as no checkpoint was asked for"
                if self.checkpoint is None
                else f"{self.checkpoint.path} holds the training, resume takes it up there"
            )
        )

    def _tell(self, state: TrainingState) -> None:
        steps = self.schedule.steps
        done = state.epoch * steps + state.step
        seen = min(state.step * self.settings.batch_size, len(self.examples))
        self.progress(
            Progress(
                stage=STAGE,
                epoch=state.epoch + 1,
                epochs=self.settings.epochs,
                step=state.step,
                steps=steps,
                loss=state.loss_sum / seen,
                accuracy=state.right_sum / seen,
                seconds_left=state.seconds / done * (self.settings.epochs * steps - done),
            )
        )

    def _seed(self, what: int) -> int:
        return self.settings.seed * len(_CHANCES) + what
