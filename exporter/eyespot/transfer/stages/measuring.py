"""A network on pictures: its logits, and its score by an objective."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from eyespot.exporter.capture import held_in_eval
from eyespot.transfer.examples import Examples
from eyespot.transfer.stages.machine import Machine
from eyespot.transfer.stages.objective import Objective
from eyespot.transfer.stages.score import Score

_ROWS = 32  # a few of large pictures: their maps are what takes memory


def logits_of(
    module: nn.Module,
    images: NDArray[np.uint8],
    *,
    machine: Machine,
    weights: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Give the logits (N, outputs) of pixels (N, H, W, C), in evaluation mode and on the CPU.

    Args:
        module: Takes pixels.
        images: All of one size.
        machine: Where the module is.
        weights: By name in the module: used in the place of its own.
    """
    parts = []
    with held_in_eval(module), torch.no_grad(), machine.computing():
        for start in range(0, len(images), _ROWS):
            rows = torch.from_numpy(np.ascontiguousarray(images[start : start + _ROWS]))
            found = functional_call(module, dict(weights or {}), (rows.to(machine.device),))
            parts.append(found.float().cpu())
    return torch.cat(parts)


def score(logits: Tensor, examples: Examples, objective: Objective) -> Score:
    """Compare logits (N, outputs) with the labels."""
    targets = objective.targets(examples.labels)
    return Score(
        accuracy=float(objective.right(logits, targets).mean()),
        loss=float(objective.loss(logits, targets)),
    )
