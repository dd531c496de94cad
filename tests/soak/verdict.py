"""Whether a server has kept what it was lent: memory, file descriptors, threads.

The trend of memory is the median of the slopes between all pairs of samples:
H. Theil (1950), "A rank-invariant method of linear and polynomial regression analysis";
P. K. Sen (1968), "Estimates of the regression coefficient based on Kendall's tau".
Up to 29 % of the samples may lie anywhere without moving it far.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tests.soak.process import Sample

# What memory may grow by over the second half, as a fraction of itself and in any case: the
# allocator's holes and the runtime's arena settle, and a leak does not.
_TOLERANCE, _LEAST_TOLERANCE_MIB = 0.02, 4.0
# Pools of threads fill up by chance, and gRPC keeps some of each for a while.
_SPARE = 8


@dataclass(frozen=True)
class Check:
    """One thing that must hold."""

    name: str
    found: str
    limit: str
    holds: bool


def slope(minutes: Sequence[float], values: Sequence[float]) -> float:
    """The Theil-Sen estimate of the trend of some values, per minute."""
    times, found = np.asarray(minutes), np.asarray(values)
    first, second = np.triu_indices(len(found), 1)
    return float(np.median((found[second] - found[first]) / (times[second] - times[first])))


def second_half(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples after the middle of the time."""
    middle = (samples[0].minutes + samples[-1].minutes) / 2
    return [each for each in samples if each.minutes >= middle]


def judge(samples: Sequence[Sample], before: Sample, after: Sample) -> list[Check]:
    """Compares what a server holds.

    Args:
        samples: Under load, by their time.
        before: At rest, after the warm-up.
        after: At rest, at the end.
    """
    half = second_half(samples)
    memory = [each.memory_mib for each in half]
    span = half[-1].minutes - half[0].minutes
    growth = slope([each.minutes for each in half], memory) * span
    most = max(_LEAST_TOLERANCE_MIB, _TOLERANCE * float(np.median(memory)))
    return [
        Check(
            "memory over the second half",
            f"{growth:+.1f} MiB of {np.median(memory):.0f}",
            f"at most +{most:.1f} MiB",
            growth <= most,
        ),
        _same("file descriptors at rest", before.descriptors, after.descriptors),
        _same("threads at rest", before.threads, after.threads),
    ]


def _same(name: str, before: int, after: int) -> Check:
    return Check(name, f"{before} -> {after}", f"at most {_SPARE} more", after <= before + _SPARE)
