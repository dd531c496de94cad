"""An exponential moving average of weights: often a better network than the last one.

Polyak and Juditsky, 1992, "Acceleration of Stochastic Approximation by Averaging"; with
exponential weights, as in Tarvainen and Valpola, 2017, "Mean teachers are better role models",
arXiv:1703.01780, whose ramp it has as well: the decay is at most step / (step + 10), so that an
early average is not one of random weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_RAMP = 10


class MovingAverage:
    """The average of some weights over the steps of a training.

    Args:
        weights: By name; their values are the first average.
        decay: Share of the average that a step keeps.
    """

    def __init__(self, weights: Mapping[str, Tensor], *, decay: float) -> None:
        self._decay = decay
        self.weights = {name: value.detach().clone() for name, value in weights.items()}

    def add(self, weights: Mapping[str, Tensor], *, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        decay = min(self._decay, step / (step + _RAMP))
        with torch.no_grad():
            for name, average in self.weights.items():
                average.lerp_(weights[name].detach(), 1 - decay)

    def copy(self) -> dict[str, Tensor]:
        """Give the average as it is now."""
        return {name: value.clone() for name, value in self.weights.items()}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Take an average up where it was left."""
        for name, average in self.weights.items():
            average.copy_(weights[name])
