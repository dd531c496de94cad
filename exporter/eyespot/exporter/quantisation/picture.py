"""The picture of a quantisation: what each layer alone costs in exactness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eyespot.exporter.quantisation.sensitivity import Sensitivity

_INCHES_A_LAYER = 0.22


def draw_sensitivities(
    sensitivities: Sequence[Sensitivity], path: Path | str, *, title: str
) -> None:
    """Draw a bar for each layer as a PNG, from the input on downwards.

    Args:
        sensitivities: At least one.
        path: Of the PNG; replaced if it exists.
        title: Of the picture.
    """
    # Slow to load, and only pictures need it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(sensitivities)
    figure = Figure(figsize=(8, 1.6 + _INCHES_A_LAYER * count), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for is_float, color, text in (
        (False, "C0", "quantised"),
        (True, "C1", "left in floating point"),
    ):
        places = [n for n, each in enumerate(sensitivities) if each.is_float == is_float]
        if places:
            errors = [100 * sensitivities[n].relative_error for n in places]
            axes.barh(places, errors, color=color, label=text)
    axes.set_yticks(range(count), [each.title for each in sensitivities], fontsize=8)
    axes.set_ylim(count - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("change of the outputs when this layer alone is quantised, % of their length")
    axes.set_title(title)
    axes.legend()
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
