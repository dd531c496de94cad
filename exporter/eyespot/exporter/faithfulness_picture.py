"""The picture of an evaluation of saliency: deletion, insertion, and the sanity check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.faithfulness import RANDOM_PATCHES, RANDOM_PIXELS, Evaluation, Faithfulness

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

# Of method, in turn, so that lines are told apart without colours too.
_MARKERS = "osD^vP*X"
_MOST_MARKED = 12
_LEGEND_COLUMNS = 3
_PADDING = 0.12  # inches
# Grey lines without markers.
_CHANCE = {RANDOM_PIXELS: ":", RANDOM_PATCHES: "--"}


def draw_faithfulness(evaluation: Evaluation, path: Path | str, *, title: str) -> None:
    """Draw the curves as a PNG, the mean over the pictures; the sanity check where there is one.

    Args:
        evaluation: What was measured.
        path: Of the PNG; replaced if it exists.
        title: Of the picture, such as the model's name.
    """
    # Slow to load, and only pictures need it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    has_check = bool(evaluation.layers)
    layout = ConstrainedLayoutEngine(w_pad=_PADDING, h_pad=_PADDING)
    figure = Figure(figsize=(12, 11 if has_check else 6), layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 if has_check else 1, 2, squeeze=False)
    _draw_curves(axes[0, 0], evaluation, "deletion", "a map's first pixels go, low is good")
    _draw_curves(axes[0, 1], evaluation, "insertion", "they come, high is good")
    if has_check:
        _draw_check(axes[1, 0], evaluation, "signed", "values")
        _draw_check(axes[1, 1], evaluation, "magnitudes", "magnitudes")
    # Below all curves, which may be anywhere.
    told = list(map(_told, evaluation.methods))
    figure.legend(axes[0, 0].lines, told, loc="outside lower center", ncols=_LEGEND_COLUMNS)
    figure.suptitle(title, fontsize="x-large")
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def _draw_curves(axes: Axes, evaluation: Evaluation, which: str, meaning: str) -> None:
    for number, method in enumerate(evaluation.methods):
        curves: Floats = getattr(method, which)
        is_random = method.name in _CHANCE
        axes.plot(
            100 * evaluation.shares, curves.mean(0),
            color="0.45" if is_random else f"C{number % 10}",
            linestyle=_CHANCE.get(method.name, "-"), marker=None if is_random else _marker(number),
            markersize=4, markevery=max(1, len(evaluation.shares) // _MOST_MARKED),
        )  # fmt: skip
    axes.set_ylim(-0.03, 1.03)
    axes.grid(alpha=0.3)
    axes.set_xlabel("pixels, %")
    axes.set_ylabel("probability of the class")
    axes.set_title(f"{which}: {meaning}")


def _draw_check(axes: Axes, evaluation: Evaluation, which: str, meaning: str) -> None:
    places = range(len(evaluation.layers) + 1)
    for number, method in enumerate(evaluation.methods):
        found: Floats | None = getattr(method, which)
        if found is not None:
            axes.plot(
                places, [1.0, *found.mean(1)], color=f"C{number % 10}",
                marker=_marker(number), markersize=4,
            )  # fmt: skip
    axes.axhline(0, color="0.45", linestyle="--", linewidth=1)
    axes.set_ylim(min(-0.35, axes.get_ylim()[0]), 1.05)
    axes.grid(alpha=0.3)
    axes.set_xticks(places, _ticks(evaluation.layers), rotation=50, ha="right", fontsize=8)
    axes.set_xlabel("random from the top down to this layer")
    axes.set_ylabel("rank correlation with the trained network")
    axes.set_title(f"{meaning} of the maps under random weights, near 0 is good")


def _told(method: Faithfulness) -> str:
    deletion, insertion = method.deletion_areas.mean(), method.insertion_areas.mean()
    return f"{method.name}\narea {deletion:.3f} deleted, {insertion:.3f} inserted"


def _marker(number: int) -> str:
    return _MARKERS[number % len(_MARKERS)]


def _ticks(layers: Sequence[str]) -> list[str]:
    """Leave out what all layers' names begin with."""
    roots = {layer.split(".")[0] for layer in layers}
    is_shared = len(roots) == 1 and all("." in layer for layer in layers)
    return ["trained", *(layer.partition(".")[2] if is_shared else layer for layer in layers)]
