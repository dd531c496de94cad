"""How good a network is on the pictures held out, and what happened in each epoch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """On held-out pictures.

    Attributes:
        accuracy: Share of right answers.
        loss: Mean of the loss that is trained, which settles a tie.
    """

    accuracy: float
    loss: float

    def beats(self, other: Score) -> bool:
        """Tell whether this is better."""
        return (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


@dataclass(frozen=True)
class Epoch:
    """One pass over the pictures.

    Attributes:
        stage: "head" or "blocks".
        number: Counted from 1, in its stage.
        loss: Mean over the pictures, measured while the weights changed.
        accuracy: The same of the right answers; with mixup, against the larger share.
        held_out: The network after the epoch (with a moving average: that).
        learning_rate: At the end of the epoch, of the last block or the head.
        seconds: That it took.
    """

    stage: str
    number: int
    loss: float
    accuracy: float
    held_out: Score
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Where a training stands, at a step.

    Attributes:
        stage: "head" or "blocks".
        epoch: Counted from 1.
        epochs: At most; early stopping may come before.
        step: Done in this epoch.
        steps: Of an epoch.
        loss: Mean so far in this epoch.
        accuracy: The same.
        seconds_left: As far as one can tell.
    """

    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    seconds_left: float
