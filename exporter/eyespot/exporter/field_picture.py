"""The picture of an effective receptive field beside the box of the theoretical one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.exporter.effective_field import THRESHOLD, EffectiveField

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_effective_field(field: EffectiveField, path: Path | str, *, title: str) -> None:
    """Draw a field as a PNG: the input on the left, its middle row against the box on the right.

    Args:
        field: What was measured.
        path: Of the PNG; replaced if it exists.
        title: Of the picture, such as the network's name.
    """
    # Slow to load, and only pictures need it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    plane, profile = figure.subplots(1, 2)
    _draw_plane(plane, field)
    _draw_profile(profile, field)
    figure.suptitle(
        f"{title}: the centre unit of {field.node} could see {_sides(field)} pixels, and sees "
        f"about {field.size:.0f}x{field.size:.0f}"
    )
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})


def _draw_plane(axes: Axes, field: EffectiveField) -> None:
    from matplotlib.patches import Rectangle

    height, width = field.gradients.shape
    top, left, box_height, box_width = field.box
    axes.set_facecolor("0.85")
    shown = axes.imshow(field.gradients, cmap="magma", vmin=0, vmax=1)
    # A pixel is drawn around its centre.
    axes.add_patch(
        Rectangle(
            (left - 0.5, top - 0.5), box_width, box_height,
            fill=False, edgecolor="tab:cyan", linewidth=2,
        )
    )  # fmt: skip
    margin = 0.03 * max(box_height, box_width, height, width)
    axes.set_xlim(min(left, 0) - margin, max(left + box_width, width) + margin)
    axes.set_ylim(max(top + box_height, height) + margin, min(top, 0) - margin)
    axes.set_xlabel("pixels; grey: padding, blue: the theoretical field")
    axes.figure.colorbar(shown, ax=axes, shrink=0.7, label="gradient, root mean square")


def _draw_profile(axes: Axes, field: EffectiveField) -> None:
    top, left, box_height, box_width = field.box
    height, width = field.gradients.shape
    row = min(max(round(top + (box_height - 1) / 2), 0), height - 1)
    axes.fill_between(range(width), field.gradients[row], step="mid", color="tab:purple", alpha=0.6)
    for edge in (left - 0.5, left + box_width - 0.5):
        axes.axvline(edge, color="tab:cyan", linewidth=2)
    axes.axhline(THRESHOLD, color="0.4", linestyle="--", linewidth=1)
    axes.annotate(
        "counted above this", (0.98, THRESHOLD), xycoords=("axes fraction", "data"),
        ha="right", va="bottom", color="0.4",
    )  # fmt: skip
    axes.set_xlabel(f"pixels of row {row}; blue: the theoretical field")
    axes.set_ylabel("gradient, root mean square")
    axes.set_ylim(0, 1.05)


def _sides(field: EffectiveField) -> str:
    _, _, height, width = field.box
    return f"{height:g}x{width:g}"
