"""How fast each block learns at each step: rates that fall with the depth, and along a cosine.

Discriminative rates: Howard and Ruder, 2018, "Universal Language Model Fine-tuning for Text
Classification", arXiv:1801.06146, section 3.2: each block learns 2.6 times slower than the one
after it. Gradual unfreezing, its section 3.3: the blocks begin to learn one after another, the
last first. The cosine: Loshchilov and Hutter, 2017, "SGDR", arXiv:1608.03983, without restarts;
a short rise before it is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_RISE = 0.1  # of all steps


@dataclass(frozen=True)
class Schedule:
    """The rates of a training.

    Attributes:
        learning_rate: Of the head and the last block, at its peak.
        decay: Each earlier block's rate is so many times the next one's.
        epochs: In all.
        steps: Of each epoch.
        blocks: How many are unfrozen.
        gradual: They begin to learn one after another rather than all at once.
    """

    learning_rate: float
    decay: float
    epochs: int
    steps: int
    blocks: int
    gradual: bool = False

    def rate(self, depth: int, step: int) -> float:
        """Tell the rate of a block at a step.

        Args:
            depth: 0 is the last block and the head, 1 the block before it.
            step: Counted from 0 over all epochs.
        """
        total = self.epochs * self.steps
        rising = max(1, round(_RISE * total))
        rise = min(1.0, (step + 1) / rising)
        fall = 0.5 * (1 + math.cos(math.pi * step / total))
        return self.learning_rate * float(self.decay**depth) * rise * fall

    def learning_blocks(self, epoch: int) -> int:
        """Tell how many of the last blocks learn in an epoch, counted from 0."""
        if not self.gradual:
            return self.blocks
        return math.ceil((epoch + 1) * self.blocks / self.epochs)
