"""The figures of a report: training curves, the confusion matrix, the reliability diagram."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eyespot.transfer.calibration import Reliability
from eyespot.transfer.report.contents import EpochPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Beyond it neither names nor numbers can be read.
_MOST_NAMED = 30
_INK, _BLUE, _RED = "#333333", "#2a6db0", "#c0392b"


def draw_curves(history: Sequence[EpochPoint]) -> Figure:
    """Draw losses and, where it was measured, accuracy over the epochs, stage by stage."""
    has_accuracy = any(point.validation_accuracy is not None for point in history)
    figure = _figure(9.5 if has_accuracy else 5.5, 3.4)
    axes = figure.subplots(1, 2 if has_accuracy else 1, squeeze=False)[0]
    losses = axes[0]
    _plot(losses, [point.training_loss for point in history], "training", color=_BLUE)
    _plot(losses, [point.validation_loss for point in history], "validation", color=_RED)
    losses.set_ylabel("loss")
    losses.set_ylim(bottom=0)
    losses.legend(frameon=False)
    if has_accuracy:
        shares = [point.validation_accuracy for point in history]
        _plot(axes[1], [None if x is None else 100 * x for x in shares], "validation", color=_RED)
        axes[1].set_ylabel("validation accuracy, %")
    for each in axes:
        each.set_xlabel("epoch")
        each.xaxis.get_major_locator().set_params(integer=True)
        _mark_stages(each, history)
        _mark_kept(each, history)
    return figure


def draw_confusion(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """Draw how often each class (row) was taken for each (column), as a share of the row."""
    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    is_named = len(names) <= _MOST_NAMED
    side = 1.6 + 0.36 * min(len(names), _MOST_NAMED)
    figure = _figure(side + 0.8, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("said")
    axes.set_ylabel("actual")
    if not is_named:
        return figure
    places = range(len(names))
    axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    for row, column in zip(*np.nonzero(counts), strict=True):
        axes.text(
            column, row, str(counts[row, column]), ha="center", va="center", fontsize=8,
            color="white" if shares[row, column] > 0.5 else _INK,
        )  # fmt: skip
    return figure


def draw_reliability(calibration: Reliability) -> Figure:
    """Draw accuracy over confidence, and how many answers each bin has."""
    figure = _figure(4.6, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    some = [each for each in calibration.bins if each.count]
    width = calibration.bins[0].upper - calibration.bins[0].lower
    lefts = [each.lower for each in some]
    upper.bar(
        lefts, [each.accuracy or 0.0 for each in some], width, align="edge", color=_BLUE,
        edgecolor="white", label="share right",
    )  # fmt: skip
    for each in some:
        assert each.confidence is not None
        assert each.accuracy is not None
        upper.plot([each.confidence] * 2, [each.accuracy, each.confidence], color=_RED)
    upper.plot([], [], color=_RED, label="distance to the confidence")
    upper.plot([0, 1], [0, 1], color=_INK, linestyle=":", linewidth=1)
    upper.set_ylabel("share right")
    upper.set_ylim(0, 1)
    upper.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    lower.bar(
        lefts, [each.count for each in some], width, align="edge", color="#9fb8d0",
        edgecolor="white",
    )  # fmt: skip
    lower.set_xlabel("confidence")
    lower.set_ylabel("answers")
    lower.set_xlim(0, 1)
    return figure


def _figure(width: float, height: float) -> Figure:
    # Slow to load, and only pictures need it.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _plot(axes: Axes, values: Sequence[float | None], label: str, *, color: str) -> None:
    known = [(epoch, value) for epoch, value in enumerate(values, 1) if value is not None]
    if not known:
        return
    epochs, heights = zip(*known, strict=True)
    axes.plot(epochs, heights, "o-" if len(known) < 60 else "-", markersize=3, color=color,
              label=label)  # fmt: skip
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_stages(axes: Axes, history: Sequence[EpochPoint]) -> None:
    """Part the stages by lines and name them on top, if there are several."""
    stages = [(name, len(list(some))) for name, some in itertools.groupby(history, _stage_of)]
    if len(stages) < 2:
        return
    begin = 0.5
    for name, length in stages:
        if begin > 1:
            axes.axvline(begin, color=_INK, linestyle=":", linewidth=1)
        axes.annotate(
            name, (begin + length / 2, 1.02), xycoords=("data", "axes fraction"), ha="center",
            fontsize=9, color=_INK,
        )  # fmt: skip
        begin += length


def _mark_kept(axes: Axes, history: Sequence[EpochPoint]) -> None:
    for epoch, point in enumerate(history, 1):
        if point.is_kept:
            axes.axvline(epoch, color="#2e8b57", linewidth=1)
            axes.annotate(
                "kept", (epoch, 0.03), xycoords=("data", "axes fraction"), xytext=(3, 0),
                textcoords="offset points", fontsize=8, color="#2e8b57",
            )  # fmt: skip


def _stage_of(point: EpochPoint) -> str:
    return point.stage
