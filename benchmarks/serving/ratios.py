"""What is measured against which bar, and the table of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """What a ratio should be at most, or at least."""

    limit: float
    is_floor: bool = False

    def holds(self, value: float) -> bool:
        """Whether a ratio is on the right side."""
        return value >= self.limit if self.is_floor else value <= self.limit

    def __str__(self) -> str:
        return f"at {'least' if self.is_floor else 'most'} {self.limit:g}"


@dataclass(frozen=True)
class Ratio:
    """One line of the table.

    Attributes:
        name: What over what.
        values: One of each round.
        bar: What they should be.
    """

    name: str
    values: tuple[float, ...]
    bar: Bar

    @property
    def median(self) -> float:
        """The figure that counts."""
        return statistics.median(self.values)

    @property
    def holds(self) -> bool:
        """Whether the median keeps to the bar."""
        return self.bar.holds(self.median)


def table(ratios: Sequence[Ratio]) -> str:
    """Write a table that can go into the README as it is."""
    lines = ["| | ratio | bar | |", "|---|---|---|---|"]
    for ratio in ratios:
        told = f"{_written(ratio.median)} ({_written(min(ratio.values))} to "
        told += f"{_written(max(ratio.values))})"
        lines.append(f"| {ratio.name} | {told} | {ratio.bar} | {'' if ratio.holds else 'missed'} |")
    return "\n".join(lines)


def _written(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"
