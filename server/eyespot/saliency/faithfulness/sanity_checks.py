"""The sanity check of maps: do they change when what the network has learnt is taken away?

Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim: Sanity Checks for Saliency Maps. NeurIPS
2018, arXiv 1810.03292, section 3 (cascading randomisation).

Layer by layer from the top down the weights become random, and what is above stays so. After
each step the maps are compared with the trained network's by Spearman's rank correlation, of
their values and of their magnitudes. A map that stays alike does not show what was learnt:
the paper finds that of guided backpropagation.

Ours: a layer's own numbers are put in random order, since a captured program does not know how
it was initialised; what the paper draws anew beside the weights, the statistics of a batch
norm, stays. The paper's other measures of likeness (SSIM, HOG) are not computed. A map that
is blank or not finite is like none: its correlation is 0.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.backend import RandomisableBackend

Floats = NDArray[np.float64]


def cascade(
    backend: RandomisableBackend, *, steps: int, seed: int
) -> Iterator[tuple[str, RandomisableBackend]]:
    """The network with more and more layers randomised, from the top down.

    Args:
        backend: is left as it is.
        steps: how many networks; where there are more layers, some are passed over, though
            neither the first nor the last.
        seed: of the random weights.

    Yields:
        the lowest layer that is random, and the network.
    """
    layers = backend.weight_layers()[::-1]
    randomised = 0
    for last in cascade_places(len(layers), steps):
        backend = backend.randomised(layers[randomised : last + 1], seed=seed)
        randomised = last + 1
        yield layers[last], backend


def cascade_places(layers: int, steps: int) -> list[int]:
    """Which of so many layers a cascade of so many steps stops at, evenly spaced."""
    count = min(layers, steps)
    if count < 2:
        return [layers - 1] * count  # one step: everything is random
    return [round(place) for place in np.linspace(0, layers - 1, count).tolist()]


def rank_correlation(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> Floats:
    """Spearman's correlation of each of N maps (N, ...) with its partner; (N,)."""
    found = np.zeros(len(ours))
    for number, pair in enumerate(zip(ours, theirs, strict=True)):
        if not all(np.isfinite(each).all() for each in pair):
            continue
        centred = [ranks - ranks.mean() for ranks in map(_ranks, pair)]
        lengths = np.linalg.norm(centred[0]) * np.linalg.norm(centred[1])
        if lengths > 0:
            found[number] = centred[0] @ centred[1] / lengths
    return found


def _ranks(values: NDArray[np.float32]) -> Floats:
    """The rank of each value, from 0 the smallest; equal values share their mean rank."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts + 1) / 2)[places.ravel()]
    return ranks
