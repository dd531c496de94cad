"""Refinements: answers that are gathered from many rows, some of them in each step.

A refinement says which rows it wants to have computed next, and takes what was found. Who
drives it decides how many, and may compute the rows of several callers together: nothing of
one caller is in another's refinement.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.objective import Objective, join_targets

if TYPE_CHECKING:
    from eyespot.saliency.attribution import Attribution

Found: TypeAlias = NDArray[np.float32]  # gradients (N, ...), or scores (N,)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows that shall be computed, and what is explained in them."""

    x: NDArray[np.generic]  # (R, ...)
    objective: Objective  # N targets; those of one row stand together


class Refinement(ABC):
    """One call's answer while it is made of a number of pieces, each of them a row.

    Args:
        count: of the pieces.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._done = 0
        self._asked = np.arange(0)

    @property
    def left(self) -> int:
        """How many pieces are still to be computed."""
        return self._count - self._done

    @property
    def progress(self) -> float:
        """The share that is done, 0 to 1."""
        return self._done / self._count

    def ask(self, most: int) -> Rows:
        """The next rows, at most so many."""
        self._asked = np.arange(self._done, self._done + min(most, self.left))
        return self._rows(self._asked)

    def add(self, found: Found) -> None:
        """Take what was computed of the rows that were asked for last."""
        self._add(self._asked, found)
        self._done += len(self._asked)

    @abstractmethod
    def read(self) -> "Attribution":
        """What is known by now; there has been a step."""

    @abstractmethod
    def _rows(self, pieces: NDArray[np.int64]) -> Rows:
        """The rows of some pieces, which come in order and each once."""

    @abstractmethod
    def _add(self, pieces: NDArray[np.int64], found: Found) -> None:
        """Take what was found for these pieces."""


def ask_each(refinements: Sequence[Refinement], most: int) -> list[tuple[int, Rows]]:
    """Share the rows of one step among refinements that are not done.

    What is left is cut into as few steps as there must be, of nearly one size. Where there
    are more refinements than rows, those come first that have come least far.

    Returns:
        The numbers of those that have a part in it, with their rows.
    """
    left = sum(refinement.left for refinement in refinements)
    most = -(-left // -(-left // most))
    order = sorted(range(len(refinements)), key=lambda number: refinements[number].progress)
    order = sorted(order[:most], key=lambda number: refinements[number].left)
    asked = []
    for taken, number in enumerate(order):
        # Who has less left than its share leaves the rest to those behind it.
        rows = refinements[number].ask(most // (len(order) - taken))
        most -= len(rows.x)
        asked.append((number, rows))
    return asked


def compute_together(
    parts: Sequence[Rows], compute: Callable[[Rows], Found]
) -> list[Found | Exception]:
    """Compute the rows of several callers at once; one that fails fails alone."""
    try:
        return _split(compute(_join(parts)), parts)
    except Exception as error:
        if len(parts) == 1:
            return [error]
    # Whose fault it is shows when each is alone.
    return [found for part in parts for found in compute_together([part], compute)]


def _join(parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    targets = join_targets([part.objective.targets for part in parts])
    objective = replace(parts[0].objective, targets=targets)
    return Rows(np.concatenate([part.x for part in parts]), objective)


def _split(found: Found, parts: Sequence[Rows]) -> list[Found | Exception]:
    ends = np.cumsum([len(part.objective.targets) for part in parts])
    if len(found) != ends[-1]:
        raise RuntimeError(
            f"results must number inputs: {len(found)} for {ends[-1]} targets. This is a bug"
        )
    return list(np.split(found, ends[:-1]))
