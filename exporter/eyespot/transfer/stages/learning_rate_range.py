"""The learning rate found by itself: raised step by step until the loss rises.

Smith, 2017, "Cyclical Learning Rates for Training Neural Networks", arXiv:1506.01186, section
3.3, "How can one estimate reasonable minimum and maximum boundary values?". The paper raises the
rate linearly over several epochs and watches the accuracy; here it is multiplied at every step,
over few steps, and the loss is watched. A tenth of the rate at which the smoothed loss is lowest
is taken: the rate at the very bottom is where it begins to be too high. Pictures so few that a
head tells them apart at any rate bring no loss that rises; the highest rate tried bounds those.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

LOWEST, HIGHEST = 1e-5, 1.0
_STEPS = 60
_KEPT = 0.8  # of the smoothed loss, at each step
_RISEN = 4.0  # times the lowest loss: it will not fall again
_SHARE = 0.1


def find_learning_rate(
    parameters: Sequence[nn.Parameter], loss_at: Callable[[int], Tensor], *, weight_decay: float
) -> float:
    """Try rates from the lowest to the highest, and take one below where the loss rises.

    The parameters have their values again afterwards; chance is the caller's, so that one seed
    gives one rate.

    Args:
        parameters: That will be trained.
        loss_at: Gives the loss of the batch of a step, counted from 0.
        weight_decay: Of the AdamW that will train them.
    """
    before = [value.detach().clone() for value in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=LOWEST, weight_decay=weight_decay)
    smoothed: list[float] = []
    average = 0.0
    try:
        for step in range(_STEPS):
            loss = loss_at(step)
            average = _KEPT * average + (1 - _KEPT) * float(loss.detach())
            smoothed.append(average / (1 - _KEPT ** (step + 1)))
            if not math.isfinite(smoothed[-1]) or smoothed[-1] > _RISEN * min(smoothed):
                break
            optimizer.param_groups[0]["lr"] = rate_at(step)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    finally:
        with torch.no_grad():
            for value, old in zip(parameters, before, strict=True):
                value.copy_(old)
                value.grad = None
    return chosen_rate(smoothed)


def rate_at(step: int) -> float:
    """Tell the rate of a step: each is the same multiple of the one before."""
    return LOWEST * float((HIGHEST / LOWEST) ** (step / (_STEPS - 1)))


def chosen_rate(smoothed: Sequence[float]) -> float:
    """Choose the rate, of the smoothed losses measured before each step."""
    losses = [loss if math.isfinite(loss) else math.inf for loss in smoothed]
    lowest = min(range(len(losses)), key=losses.__getitem__)
    return max(LOWEST, _SHARE * rate_at(max(lowest - 1, 0)))
