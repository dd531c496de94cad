"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.zoo.lenet5 import EuclideanOutput

Criterion: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, K), labels (B,)) -> the loss, a scalar."""


def criterion_for(module: nn.Module) -> Criterion:
    """Choose what fits the output layer: cross entropy, or for distances `map_criterion`."""
    if any(isinstance(part, EuclideanOutput) for part in module.modules()):
        return map_criterion
    return functional.cross_entropy


def map_criterion(logits: Tensor, labels: Tensor, *, rubbish_distance: float = 0.1) -> Tensor:
    """Maximum a posteriori criterion of LeCun et al. 1998, "Gradient-Based Learning", eq. 9.

    For networks whose logit is minus the distance to a class: the right distance is pulled
    down, the others are pushed up, those that are near already the most. Unlike cross entropy
    it does not rest when the right class is merely the nearest, and so keeps the distances
    from growing without bound.

    Args:
        logits: Minus the distances (B, K).
        labels: The right classes (B,).
        rubbish_distance: The paper's j, of a "rubbish" class that no picture belongs to; it
            keeps what is far already from being pushed farther.
    """
    right = logits.gather(1, labels[:, None])[:, 0]  # (B,)
    rubbish = logits.new_full((len(logits), 1), -rubbish_distance)  # (B, 1)
    return (torch.logsumexp(torch.cat([rubbish, logits], dim=1), dim=1) - right).mean()
