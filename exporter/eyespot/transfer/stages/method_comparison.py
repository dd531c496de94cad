"""The methods side by side on one data set: accuracy against the time of the processor."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from eyespot.transfer.picture_split import PictureSplit
from eyespot.transfer.stages.fine_tuning import Watch, fine_tune, unwatched
from eyespot.transfer.stages.machine import Machine
from eyespot.transfer.stages.methods import METHODS
from eyespot.transfer.stages.recipe import Recipe
from eyespot.v1.preprocessing import PreprocessingRule


@dataclass(frozen=True)
class ComparedMethod:
    """One line of the comparison.

    Attributes:
        method: Its name.
        accuracy: On the pictures held out.
        loss: The same.
        trained: Numbers in the parameters that have learnt.
        cpu_seconds: Of all cores, the features included.
    """

    method: str
    accuracy: float
    loss: float
    trained: int
    cpu_seconds: float


def compare_methods(
    split: PictureSplit,
    recipe: Recipe,
    *,
    backbone: nn.Module | None = None,
    rule: PreprocessingRule | None = None,
    machine: Machine | None = None,
    progress: Watch = unwatched,
    begin: Callable[[str], None] = lambda method: None,
) -> Iterator[ComparedMethod]:
    """Fine-tune by each method from the same start; the features are computed by each anew.

    Args:
        split: The pictures.
        recipe: All settings but the method.
        backbone: As `fine_tune` takes it; a copy is trained.
        rule: The same.
        machine: The same.
        progress: The same.
        begin: Told of each method before it begins.
    """
    for name in METHODS:
        begin(name)
        before = _cpu_seconds()
        tuned = fine_tune(
            split,
            dataclasses.replace(recipe, method=name, unfreeze=None),
            backbone=copy.deepcopy(backbone),
            rule=rule,
            machine=machine,
            progress=progress,
        )
        head = tuned.backbone.head_layer
        yield ComparedMethod(
            method=name,
            accuracy=tuned.metrics.accuracy,
            loss=tuned.metrics.loss,
            trained=sum(value.numel() for value in head.parameters())
            + sum(block.parameters for block in tuned.unfrozen),
            cpu_seconds=_cpu_seconds() - before,
        )


def _cpu_seconds() -> float:
    """Tell the time of the processor that this process has had, and the workers that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
