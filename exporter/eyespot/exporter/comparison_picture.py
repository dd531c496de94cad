"""The picture of a comparison: what networks cost against how often they are wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.exporter.compare import ComparedNetwork

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
            _draw_unknown(axes, network, color, measure)
            continue
        axes.scatter(network.macs, height, s=area, color=color, alpha=0.6)
        axes.annotate(
            network.name, (network.macs, height), xytext=(0, -3 - math.sqrt(area / math.pi)),
            textcoords="offset points", ha="center", va="top",
        )  # fmt: skip
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


def _draw_unknown(axes: Axes, network: ComparedNetwork, color: str, measure: str) -> None:
    """Mark the cost of a network at the lower edge."""
    axes.axvline(network.macs, color=color, linestyle=":", alpha=0.7)
    axes.annotate(
        f"{network.name} (no {_written(measure)} error published)", (network.macs, 0.02),
        xycoords=("data", "axes fraction"), rotation=90, ha="right", va="bottom", color=color,
    )  # fmt: skip


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
