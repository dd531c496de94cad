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
    """Where the work stands, at a step.

    Attributes:
        stage: "pictures" that are read, "features" that are computed, "head" or "blocks".
        step: Done, of the epoch where there are epochs.
        steps: In all, or of the epoch.
        epoch: Counted from 1; 0 where there are none.
        epochs: At most; early stopping may come before.
        loss: Mean so far in this epoch.
        accuracy: The same.
        seconds_left: As far as one can tell.
    """

    stage: str
    step: int
    steps: int
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    accuracy: float | None = None
    seconds_left: float | None = None
