"""Chance that is the same each time: the `seed` parameter, and noise that belongs to a row."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.attribution import ParameterSpec

SEED = ParameterSpec("seed", "int64", 0, "the same seed draws the same noise", minimum=0)


def generator_of_row(row: NDArray[np.generic], seed: int) -> np.random.Generator:
    """Chance of a row's own: by seed and content, whatever rows are asked about beside it."""
    digest = hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
