"""The picture of a comparison: what networks cost against how often they are wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from eyespot.exporter.compare import ComparedNetwork

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

# Of places around a disc where its name may stand.
_RINGS = 8


def draw_comparison(networks: Sequence[ComparedNetwork], path: Path | str) -> None:
    """Draw a scatter plot as a PNG; beside it the gradients' norms, where there are any.

    Args:
        networks: At least one.
        path: Of the PNG; replaced if it exists.
    """
    # Slow to load, and only pictures need it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    has_norms = all(network.gradient_norms for network in networks)
    figure = Figure(figsize=(14 if has_norms else 8, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if has_norms else 1, squeeze=False)[0]
    _draw_scatter(axes[0], networks)
    if has_norms:
        _draw_norms(axes[1], networks)
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})


def _draw_scatter(axes: Axes, networks: Sequence[ComparedNetwork]) -> None:
    """Set errors against MACs; where nobody published any, latency against MACs."""
    measure = _measure(networks)
    largest = max(network.parameters for network in networks)
    names: list[_Name] = []
    for number, network in enumerate(networks):
        error = None if measure is None else _error(network, measure)
        color = f"C{number % 10}"
        # The area goes with the parameters, but not below what can be seen.
        area = 40 + 1500 * network.parameters / largest
        if measure is None:
            height = network.latency_ms
        elif error is not None:
            height = error
        else:
            axes.axvline(network.macs, color=color, linestyle=":", alpha=0.7)
            text = f"{network.name} (no {_written(measure)} error published)"
            names.append(_Name(text, (network.macs, 0.1), color, coordinates="x"))
            continue
        axes.scatter(network.macs, height, s=area, color=color, alpha=0.6)
        radius = math.sqrt(area / math.pi)
        names.append(_Name(network.name, (network.macs, height), color, radius=radius))
    costs = [network.macs for network in networks]
    if max(costs) > 3 * min(costs):
        axes.set_xscale("log")
    axes.margins(0.2)
    axes.grid(alpha=0.3)
    axes.set_xlabel("multiplications with accumulation for one row")
    axes.set_ylabel(
        "ONNX Runtime here, ms for one row"
        if measure is None
        else f"published {_written(measure)} error on ImageNet, %"
    )
    axes.set_title("the area goes with the parameters")
    _draw_names(axes, names)


@dataclass(frozen=True)
class _Name:
    """What is to be written beside a place.

    Attributes:
        text: A name, and what there is to be said of it.
        place: In data, or with the share of the height in place of y.
        color: Of the line that leads there.
        radius: Of the disc there, in points.
        coordinates: "data", or "x" if only x is in data.
    """

    text: str
    place: tuple[float, float]
    color: str
    radius: float = 0.0
    coordinates: Literal["data", "x"] = "data"


def _draw_names(axes: Axes, names: Sequence[_Name]) -> None:
    """Write each name as near to its place as it does not cover another."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.canvas.draw()  # the scales are settled only now
    written: list[Bbox] = []
    for name in names:
        coordinates = "data" if name.coordinates == "data" else axes.get_xaxis_transform()
        label = axes.annotate(
            name.text, name.place, xycoords=coordinates, xytext=(0, 0), textcoords="offset points"
        )
        for offset, horizontal, vertical in _offsets(name.radius + 3):
            label.set(position=offset, ha=horizontal, va=vertical)
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in written):
                break
        written.append(box)
        if math.hypot(*offset) > name.radius + 3:
            axes.annotate(
                "", name.place, xycoords=coordinates, xytext=offset, textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": name.color, "shrinkA": 0},
            )  # fmt: skip


def _offsets(distance: float) -> Iterator[tuple[tuple[float, float], str, str]]:
    """Offsets in points and alignments: below, above, right, left; then further and further."""
    for step in range(_RINGS):
        far = distance + 12 * step
        yield (0, -far), "center", "top"
        yield (0, far), "center", "bottom"
        yield (far, 0), "left", "center"
        yield (-far, 0), "right", "center"


def _draw_norms(axes: Axes, networks: Sequence[ComparedNetwork]) -> None:
    everything = [norm for network in networks for norm in network.gradient_norms]
    # A logarithm has no place for a gradient that has vanished altogether.
    edge = min((norm for norm in everything if norm > 0), default=1.0) / 10
    for number, network in enumerate(networks):
        depths = range(1, len(network.gradient_norms) + 1)
        heights = [max(norm, edge) for norm in network.gradient_norms]
        axes.plot(depths, heights, "o-", markersize=3, color=f"C{number % 10}",
                  label=network.name)  # fmt: skip
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_xlabel("layer with weights, from the input on")
    vanished = ", 0 at the lower edge" if 0 in everything else ""
    axes.set_ylabel(f"norm of the gradient of its weights{vanished}")
    axes.set_title(f"two networks of depth {networks[0].depth}, random inputs and classes")


def _measure(networks: Sequence[ComparedNetwork]) -> str | None:
    """Choose the error that more of the networks have; top-5 if in doubt."""
    counts = {
        measure: sum(_error(network, measure) is not None for network in networks)
        for measure in ("top5", "top1")
    }
    best = max(counts, key=lambda measure: counts[measure])
    return best if counts[best] else None


def _written(measure: str) -> str:
    return measure.replace("top", "top-")


def _error(network: ComparedNetwork, measure: str) -> float | None:
    if network.error is None:
        return None
    error: float | None = getattr(network.error, measure)
    return error
