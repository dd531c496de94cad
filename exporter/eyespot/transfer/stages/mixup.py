"""Mixup: pairs of pictures and their targets, blended in one proportion.

Zhang, Cisse, Dauphin and Lopez-Paz, 2018, "mixup: Beyond Empirical Risk Minimization",
arXiv:1710.09412. As in the paper's own code, a batch is blended with itself in another order,
and one proportion is drawn for all of it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def mix_up(
    inputs: Tensor, targets: Tensor, *, alpha: float, chance: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Blend rows of a batch.

    Args:
        inputs: Rows of floating point, of any shape (B, ...).
        targets: (B, outputs).
        alpha: Of the Beta(alpha, alpha) that the proportion is drawn from; 0 leaves all as it is.
        chance: Where the proportion and the order come from.
    """
    if alpha == 0:
        return inputs, targets
    share = float(chance.beta(alpha, alpha))
    order = torch.from_numpy(chance.permutation(len(inputs))).to(inputs.device)
    return (
        share * inputs + (1 - share) * inputs[order],
        share * targets + (1 - share) * targets[order],
    )
