"""Where a fine-tuning stands, told now and then: loss, accuracy, time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eyespot.transfer.stages import Progress

_SECONDS_BETWEEN = 2.0
_WORDS = {
    "pictures": "pictures read",
    "features": "pictures through the backbone",
    "head": "stage 1, the head",
    "blocks": "stage 2, unfrozen blocks",
}


class StageTeller:
    """Takes each step, and tells of one every two seconds, and of the first of each stage.

    Args:
        tell: Takes a text.
        clock: Seconds that never run backwards.
    """

    def __init__(
        self, tell: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._told = clock()
        self._stage = ""
        self._method = ""

    def begin(self, method: str) -> None:
        """Name the method that all that follows is about."""
        self._method, self._stage = f"{method}: ", ""

    def __call__(self, progress: Progress) -> None:
        """Tell of a step, if it is time."""
        now = self._clock()
        if progress.stage == self._stage and now - self._told < _SECONDS_BETWEEN:
            return
        self._stage, self._told = progress.stage, now
        self._tell(self._method + stage_text(progress))


def stage_text(progress: Progress) -> str:
    """Write a step in words."""
    what = _WORDS[progress.stage]
    if progress.epoch == 0:
        return f"{progress.step:,} of {progress.steps:,} {what}"
    words = [f"{what}: epoch {progress.epoch} of {progress.epochs}"]
    if progress.steps > 1 and progress.step < progress.steps:
        words[0] += f", step {progress.step} of {progress.steps}"
    if progress.loss is not None and progress.accuracy is not None:
        words.append(f"loss {progress.loss:.3g}, {progress.accuracy:.1%} right")
    if progress.seconds_left is not None:
        words.append(f"{_time(progress.seconds_left)} left")
    return ", ".join(words)


def _time(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min"
