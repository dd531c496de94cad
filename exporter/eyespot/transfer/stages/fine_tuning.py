"""The composition: pictures and a trained network in, a network for these pictures out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from eyespot.transfer.backbones import Backbone, load_backbone
from eyespot.transfer.calibration import Temperature, bake_temperature, fit_temperature
from eyespot.transfer.class_balance import class_weights, positive_weights
from eyespot.transfer.data import load_data
from eyespot.transfer.errors import SettingsError
from eyespot.transfer.features import compute_features
from eyespot.transfer.metrics import Metrics, measure
from eyespot.transfer.picture_split import PictureSplit
from eyespot.transfer.stages.block_stage import BlockResult, CheckpointPlace, train_blocks
from eyespot.transfer.stages.blocks import Block, chosen_blocks, find_blocks
from eyespot.transfer.stages.head_stage import FeatureExamples, HeadResult, train_head
from eyespot.transfer.stages.machine import Machine, choose_machine
from eyespot.transfer.stages.measuring import logits_of
from eyespot.transfer.stages.methods import deepen_head
from eyespot.transfer.stages.objective import Objective
from eyespot.transfer.stages.recipe import Recipe
from eyespot.transfer.stages.score import Epoch, Progress
from eyespot.v1.preprocessing import PreprocessingRule

CHECKPOINT_FILE = "checkpoint.safetensors"
FEATURES_FOLDER = "features"

Watch: TypeAlias = Callable[[Progress], None]
"""Takes where the work stands, after each step."""


def unwatched(progress: Progress) -> None:
    """Look away."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that the stages need.

    Attributes:
        backbone: With a fresh head.
        split: The pictures, as the backbone takes them.
        recipe: All settings.
        objective: What is minimised.
        blocks: Of the network, in the order of execution.
        unfrozen: Those that learn in stage 2, the last first.
        machine: Where stage 2 runs.
    """

    backbone: Backbone
    split: PictureSplit
    recipe: Recipe
    objective: Objective
    blocks: tuple[Block, ...]
    unfrozen: tuple[Block, ...]
    machine: Machine


@dataclass(frozen=True)
class Probe:
    """Stage 1 with its features.

    Attributes:
        head: What the head came to.
        feature_seconds: Spent on features.
        were_features_cached: They were on the disk already.
    """

    head: HeadResult
    feature_seconds: float
    were_features_cached: bool


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A network that was fine-tuned, and how it came about.

    Attributes:
        network: From normalised pictures (B, C, H, W) to logits (B, outputs), in eval mode and
            on the CPU; the temperature is in it, if it was asked for.
        backbone: What it was made of; `backbone.network` is without the temperature.
        split: The pictures.
        recipe: All settings.
        blocks: Those of the network, in the order of execution.
        unfrozen: Those that have learnt, the last first.
        probe: Stage 1.
        block: Stage 2; None if no block was unfrozen.
        logits: FP32 (N, outputs), what `network` says of the pictures held out.
        metrics: On these.
        temperature: That was fitted, if one was asked for.
    """

    network: nn.Module
    backbone: Backbone
    split: PictureSplit
    recipe: Recipe
    blocks: tuple[Block, ...]
    unfrozen: tuple[Block, ...]
    probe: Probe
    block: BlockResult | None
    logits: NDArray[np.float32]
    metrics: Metrics
    temperature: Temperature | None

    @property
    def history(self) -> tuple[Epoch, ...]:
        """Each epoch of both stages."""
        return self.probe.head.history if self.block is None else self.block.history

    @property
    def kept(self) -> Epoch | None:
        """The epoch whose weights the network has; None where none was better than the first."""
        stage, number = "head", self.probe.head.best_epoch
        if self.block is not None and self.block.best_epoch:
            stage, number = "blocks", self.block.best_epoch
        found = (epoch for epoch in self.history if (epoch.stage, epoch.number) == (stage, number))
        return next(found, None)


def fine_tune(
    data: Path | str | PictureSplit,
    recipe: Recipe | None = None,
    *,
    backbone: nn.Module | None = None,
    rule: PreprocessingRule | None = None,
    folder: Path | str | None = None,
    resume: bool = False,
    machine: Machine | None = None,
    checkpoint_seconds: float = 180.0,
    progress: Watch = unwatched,
) -> FineTuned:
    """Fine-tune a network on pictures: its head on cached features, then its last blocks.

    One seed gives one network on one machine, after an interruption too. Each step is a function
    of its own: `read_pictures_for`, `prepare`, `train_probe`, `train_unfrozen`, `finish`.

    Args:
        data: What `load_data` takes, or what it gives.
        recipe: All settings.
        backbone: A module to start from, in place of the recipe's; it is changed.
        rule: From a picture to the pixels that such a module takes.
        folder: Features are kept and found in it, and the checkpoint of stage 2; nothing is
            written if not told.
        resume: Take up the training whose checkpoint is in the folder, if there is one.
        machine: Where; what is there if not told.
        checkpoint_seconds: So often the checkpoint is written within an epoch.
        progress: Takes where the work stands.

    Raises:
        TransferError: The data, a setting or the training is at fault, or it was interrupted.
        ZooError: The backbone or its weights cannot be had.
        ExportError: The preprocessing cannot be had for such an input.
    """
    recipe = recipe or Recipe()
    if not isinstance(data, PictureSplit):
        data = read_pictures_for(data, recipe, backbone=backbone, rule=rule, progress=progress)
    prepared = prepare(data, recipe, backbone=backbone, rule=rule, machine=machine)
    probe = train_probe(prepared, folder=folder, progress=progress)
    blocks = train_unfrozen(
        prepared,
        probe,
        folder=folder,
        resume=resume,
        checkpoint_seconds=checkpoint_seconds,
        progress=progress,
    )
    return finish(prepared, probe, blocks)


def read_pictures_for(
    data: Path | str,
    recipe: Recipe,
    *,
    backbone: nn.Module | None = None,
    rule: PreprocessingRule | None = None,
    progress: Watch = unwatched,
) -> PictureSplit:
    """Read pictures at the size that the backbone of a recipe takes.

    Raises:
        TransferError: There is nothing to learn from.
        ZooError: The backbone or its weights cannot be had.
        ExportError: The preprocessing cannot be had for such an input.
    """
    if rule is None:
        # How many classes there are is known only once the pictures are read.
        rule = _load(recipe, backbone, None, outputs=2).rule
    done = 0

    def count(total: int) -> None:
        nonlocal done
        done += 1
        progress(Progress("pictures", step=done, steps=total))

    return load_data(
        data,
        rule,
        held_out=recipe.held_out,
        seed=recipe.seed,
        val=recipe.val,
        multi_label=recipe.task == "multi-label",
        progress=count,
    )


def prepare(
    split: PictureSplit,
    recipe: Recipe,
    *,
    backbone: nn.Module | None = None,
    rule: PreprocessingRule | None = None,
    machine: Machine | None = None,
) -> Prepared:
    """Load the backbone, give it a head for the classes, and find its blocks.

    Raises:
        TransferError: The backbone has no head that can be replaced, or not so many blocks, or
            the pictures are no examples of the task.
        ZooError: The backbone or its weights cannot be had.
        ExportError: The preprocessing cannot be had for such an input.
    """
    objective = _objective(recipe, split)
    loaded = _load(recipe, backbone, rule, outputs=objective.outputs)
    if recipe.chosen_method.is_deep:
        deepen_head(loaded, seed=recipe.seed)
    height, width, channels = split.train.images.shape[1:]
    if loaded.rule.size != (height, width) or loaded.rule.channels != channels:
        raise SettingsError(
            f"the pictures are {height}x{width} with {channels} channels, the backbone takes "
            f"{loaded.rule.size} with {loaded.rule.channels}: read them by its rule"
        )
    blocks = find_blocks(
        loaded.network, torch.zeros(1, channels, height, width), head=loaded.head.name
    )
    return Prepared(
        backbone=loaded,
        split=split,
        recipe=recipe,
        objective=objective,
        blocks=blocks,
        unfrozen=chosen_blocks(blocks, recipe.chosen_method.unfreeze),
        machine=machine or choose_machine(side=max(height, width)),
    )


def train_probe(
    prepared: Prepared, *, folder: Path | str | None = None, progress: Watch = unwatched
) -> Probe:
    """Stage 1: compute the features, or find them in the folder, and train the head on them.

    Raises:
        DivergedError: The loss is no number any more.
    """
    backbone, split, recipe = prepared.backbone, prepared.split, prepared.recipe
    total = len(split.train) + len(split.held_out)
    cache = None if folder is None else Path(folder) / FEATURES_FOLDER
    backbone.network.to(prepared.machine.device)
    began, before = time.monotonic(), 0
    found = []
    for examples in (split.train, split.held_out):

        def count(done: int, _: int, before: int = before) -> None:
            progress(Progress("features", step=before + done, steps=total))

        found.append(compute_features(backbone, examples, cache=cache, progress=count))
        before += len(examples)
    feature_seconds = time.monotonic() - began
    # Of inference mode, in which features are computed, gradients know nothing.
    learnt, measured = (features.values.clone() for features in found)
    head = train_head(
        nn.Sequential(backbone.head_layer, backbone.tail).cpu(),
        FeatureExamples(learnt, split.train),
        held_out=FeatureExamples(measured, split.held_out),
        objective=prepared.objective,
        settings=recipe.head_settings,
        progress=progress,
    )
    return Probe(head, feature_seconds, all(features.was_cached for features in found))


def train_unfrozen(
    prepared: Prepared,
    probe: Probe,
    *,
    folder: Path | str | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 180.0,
    progress: Watch = unwatched,
) -> BlockResult | None:
    """Stage 2: train the unfrozen blocks; None if there are none.

    The checkpoint in the folder is removed once the training is done.

    Raises:
        TransferError: As `train_blocks` raises it.
    """
    if not prepared.unfrozen:
        return None
    place = None
    if folder is not None:
        place = CheckpointPlace(
            Path(folder) / CHECKPOINT_FILE,
            _identity(prepared),
            seconds=checkpoint_seconds,
            resume=resume,
        )
    result = train_blocks(
        prepared.backbone.network,
        prepared.split.train,
        held_out=prepared.split.held_out,
        rule=prepared.backbone.rule,
        head=prepared.backbone.head.name,
        blocks=prepared.unfrozen,
        objective=prepared.objective,
        settings=prepared.recipe.block_settings,
        machine=prepared.machine,
        history=probe.head.history,
        checkpoint=place,
        progress=progress,
    )
    if place is not None:
        place.path.unlink(missing_ok=True)
    return result


def finish(prepared: Prepared, probe: Probe, blocks: BlockResult | None) -> FineTuned:
    """Measure the network on what was held out, and fit the temperature if it was asked for."""
    backbone, held_out = prepared.backbone, prepared.split.held_out
    backbone.network.cpu().eval()
    logits = logits_of(backbone.module, held_out.images, machine=Machine()).numpy()
    network, temperature = backbone.network, None
    if prepared.recipe.temperature:
        temperature = fit_temperature(logits, held_out.labels)
        network = bake_temperature(network, temperature.value, head=backbone.head.name).eval()
        logits = logits / np.float32(temperature.value)
    return FineTuned(
        network=network,
        backbone=backbone,
        split=prepared.split,
        recipe=prepared.recipe,
        blocks=prepared.blocks,
        unfrozen=prepared.unfrozen,
        probe=probe,
        block=blocks,
        logits=logits,
        metrics=measure(logits, held_out.labels, names=prepared.split.labels),
        temperature=temperature,
    )


def _load(
    recipe: Recipe, backbone: nn.Module | None, rule: PreprocessingRule | None, *, outputs: int
) -> Backbone:
    return load_backbone(
        recipe.backbone if backbone is None else backbone,
        num_classes=outputs,
        weights=recipe.weights,
        head=recipe.head,
        rule=rule,
        input_size=recipe.input_size,
        in_channels=recipe.channels,
        seed=recipe.seed,
    )


def _objective(recipe: Recipe, split: PictureSplit) -> Objective:
    if split.is_multi_label != (recipe.task == "multi-label"):
        raise SettingsError(
            f"task {recipe.task} needs pictures of "
            + ("any number of classes" if recipe.task == "multi-label" else "one class each")
        )
    weights = None
    if recipe.balance == "weights":
        weights = (
            positive_weights(split.train)
            if split.is_multi_label
            else class_weights(split.train, len(split.labels))
        ).tolist()
    return Objective(
        task=recipe.task,
        labels=len(split.labels),
        class_weights=weights,
        label_smoothing=recipe.label_smoothing,
    )


def _identity(prepared: Prepared) -> dict[str, object]:
    """Name what must be the same where a training is taken up."""
    told = prepared.backbone.provenance
    return {
        **prepared.recipe.to_json(),
        "weights": told.weights_sha256 or told.weights,
        "data": prepared.split.digest,
        "classes": prepared.split.labels,
        "precision": prepared.machine.precision,
        "threads": torch.get_num_threads(),  # more of them add up in another order
        "unfreeze": [block.name for block in prepared.unfrozen],
        "temperature": None,
    }
