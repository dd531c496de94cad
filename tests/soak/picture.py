"""What a server held while it was soaked, drawn over time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tests.soak.process import Sample
from tests.soak.verdict import second_half, slope


def draw(samples: Sequence[Sample], before: Sample, path: Path, *, title: str) -> None:
    """Draws memory with its trend, file descriptors and threads.

    Args:
        samples: Under load, by their time.
        before: At rest, after the warm-up.
        path: Of the PNG.
        title: Above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    minutes = [each.minutes for each in samples]
    rows: dict[str, list[float]] = {
        "resident memory, MiB": [each.memory_mib for each in samples],
        "file descriptors": [each.descriptors for each in samples],
        "threads": [each.threads for each in samples],
    }
    axes = figure.subplots(len(rows), 1, sharex=True)
    for axis, (name, values) in zip(axes, rows.items(), strict=True):
        axis.plot(minutes, values, color="#4477aa", linewidth=1.2)
        axis.set_ylabel(name)
        axis.set_ylim(0, 1.15 * max(values))
        axis.spines[["top", "right"]].set_visible(False)
    half = second_half(samples)
    times = np.array([each.minutes for each in half])
    memory = np.array([each.memory_mib for each in half])
    trend = slope(times.tolist(), memory.tolist())
    line = np.median(memory - trend * times) + trend * times
    axes[0].plot(
        times, line, color="#cc3311", linewidth=2, label=f"second half: {trend:+.2f} MiB per minute"
    )
    axes[0].legend(loc="lower right", frameon=False)
    for axis, value in zip(axes[1:], (before.descriptors, before.threads), strict=True):
        axis.axhline(value, color="#888888", linestyle=":", label="at rest, before")
        axis.legend(loc="lower right", frameon=False)
    axes[-1].set_xlabel("minutes under load")
    figure.savefig(path, dpi=110)
