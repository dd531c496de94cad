"""The ratios as one picture: how far each is from its bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.serving.ratios import Bar, Ratio

# What is worse by more is drawn here, with another mark.
_FARTHEST = 2.0
_KEPT, _MISSED = "tab:green", "tab:red"


def draw(ratios: Sequence[Ratio], path: Path) -> None:
    """Draw each ratio over its bar, with the range of its rounds, as a PNG.

    Args:
        ratios: At least one.
        path: Of the PNG; replaced if it exists.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.2 + 0.55 * len(ratios)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, ratio in enumerate(ratios):
        low, middle, high = (
            min(_cost(ratio.bar, value), _FARTHEST)
            for value in (min(ratio.values), ratio.median, max(ratio.values))
        )
        color = _KEPT if ratio.holds else _MISSED
        axes.plot([low, high], [place, place], color=color, linewidth=6, alpha=0.35)
        axes.plot(middle, place, ">" if middle == _FARTHEST else "o", color=color, markersize=9)
        axes.annotate(
            f"{ratio.median:.3g}, {ratio.bar}",
            (max(low, high), place), xytext=(9, 0), textcoords="offset points", va="center",
            fontsize=9,
        )  # fmt: skip
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlim(0, _FARTHEST + 0.9)
    axes.set_yticks(range(len(ratios)), [_folded(ratio.name) for ratio in ratios], fontsize=9)
    axes.set_ylim(len(ratios) - 0.5, -0.5)
    axes.set_xlabel(
        "ratio / bar, or bar / ratio where more is better: the line is the bar, left is good"
    )
    figure.suptitle("(a) ONNX Runtime in process, (b) a bare gRPC server, (c) eyespot serve")
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})


def _cost(bar: Bar, value: float) -> float:
    """How much of what the bar allows is used up."""
    if not bar.is_floor:
        return value / bar.limit
    return bar.limit / value if value else math.inf


def _folded(name: str) -> str:
    """What is measured above its ratio."""
    head, _, tail = name.rpartition(": ")
    return f"{head}\n{tail}" if head else tail
