"""The picture of a tuning: rows per second against p99, and what cannot be had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eyespot.cli.tune_search import Measurement, frontier


def draw_tuning(
    measurements: Sequence[Measurement],
    chosen: Measurement | None,
    *,
    max_latency_ms: float,
    title: str,
    path: Path,
) -> None:
    """Draw every measurement, the frontier, the bound, the choice and what is now as a PNG.

    Args:
        measurements: At least one; the first is of the model as it is.
        chosen: One of them.
        max_latency_ms: The bound on p99.
        title: Of the picture.
        path: Of the PNG; replaced if it exists.
    """
    # Slow to load, and only pictures need it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.axvspan(max_latency_ms, 1e9, color="tab:red", alpha=0.08)
    axes.axvline(max_latency_ms, color="tab:red", linestyle="--", linewidth=1, label="the bound")
    settings = dict.fromkeys(each.setting for each in measurements)
    for setting in settings:
        points = [each for each in measurements if each.setting == setting]
        axes.plot(*_places(points), ".-", color="gray", alpha=0.35, linewidth=1)
    best, now = frontier(measurements), measurements[0].setting
    of_now = [each for each in measurements if each.setting == now]
    # The short names in the first column of the legend, the long ones in the second.
    axes.plot(*_places(best), "o-", color="tab:blue", label="the frontier", zorder=3)
    axes.plot(*_places(of_now), "s--", color="tab:green", markersize=5, label=f"as it is: {now}")
    for points, color in ((of_now, "tab:green"), (best, "tab:blue")):
        _write_clients(axes, points, color)
    if chosen is not None:
        label = f"chosen: {chosen.setting}"
        axes.plot(*_places([chosen]), "*", color="tab:orange", markersize=18, label=label, zorder=4)
    times = [each.p99_ms for each in measurements]
    axes.set_xlim(min(times) / 1.5, max(*times, max_latency_ms) * 1.5)
    axes.set_ylim(0, 1.3 * max(each.rows_per_second for each in measurements))
    axes.set_xlabel("p99 in milliseconds; a line is one setting, a number how many clients call")
    axes.set_ylabel("rows per second")
    axes.set_title(title)
    axes.legend(loc="upper left", ncols=2, fontsize=9)
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})


def _write_clients(axes: Any, points: Sequence[Measurement], color: str) -> None:
    for each in points:
        axes.annotate(
            str(each.clients), (each.p99_ms, each.rows_per_second), color=color, fontsize=9,
            xytext=(-6, 4), textcoords="offset points", ha="right", va="bottom",
        )  # fmt: skip


def _places(points: Sequence[Measurement]) -> tuple[list[float], list[float]]:
    return [each.p99_ms for each in points], [each.rows_per_second for each in points]
