"""McNemar's test: is one of two networks better, or was it luck?

McNemar, "Note on the sampling error of the difference between correlated proportions or
percentages", Psychometrika 12, 1947. Of two networks on the same pictures only those count
that one has right and the other wrong: were the networks equally good, each such picture would
be a fair coin.

Departure: the paper approximates the coin by a normal distribution (chi-square with one
degree of freedom), which is too bold where few pictures differ. Here the binomial distribution
itself is summed, for any number of pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyespot.transfer.errors import MetricsError


@dataclass(frozen=True)
class McNemarTest:
    """Two networks on the same pictures.

    Attributes:
        both_right: Pictures that both have right.
        only_first: Pictures that only the first has right.
        only_second: Pictures that only the second has right.
        both_wrong: Pictures that both have wrong.
        p_value: How often equally good networks would differ at least so much, by chance.
    """

    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    p_value: float


def mcnemar_test(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemarTest:
    """Compare two networks.

    Args:
        first: (N,), whether the first network has a picture right.
        second: (N,), the same of the second.

    Raises:
        MetricsError: They are not of the same pictures.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise MetricsError(
            f"both networks must have answered the same pictures, found {first.shape} and "
            f"{second.shape}"
        )
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    return McNemarTest(
        both_right=int((first & second).sum()),
        only_first=only_first,
        only_second=only_second,
        both_wrong=int((~first & ~second).sum()),
        p_value=_two_sided(min(only_first, only_second), only_first + only_second),
    )


def _two_sided(fewer: int, tosses: int) -> float:
    """Give the chance that of so many tosses either side has no more than the fewer."""
    total = math.lgamma(tosses + 1) - tosses * math.log(2)
    tail = math.fsum(
        math.exp(total - math.lgamma(heads + 1) - math.lgamma(tosses - heads + 1))
        for heads in range(fewer + 1)
    )
    return min(1.0, 2 * tail)
