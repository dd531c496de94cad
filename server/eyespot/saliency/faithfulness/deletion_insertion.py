"""Deletion and insertion: how soon the score follows the pixels that a map puts first.

Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation of Black-box Models.
BMVC 2018, arXiv 1806.07421, section 4 (causal metrics).

Deletion replaces pixels by a constant, in the order of the map, and a good map lets the
probability of the class fall at once; insertion puts them into a blurred copy of the picture,
and a good map lets it rise at once. The area under the curve, by the trapezoidal rule, is the
figure. As in the authors' code the constant is what normalisation makes zero, and the blur is
a Gaussian of 5 pixels cut off after 11 of them.

Ours: the number of steps is chosen (the authors' code takes 224 pixels a step); the blur
stays as many pixels wide on pictures of any size, and at an edge weighs what is inside
instead of padding with zeros; equal values of a map are ordered by chance, not by place; and
where the network takes whole numbers, what is put in place of a pixel is rounded to such.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.backend import Scorer, to_float
from eyespot.saliency.maps import spatial_axes
from eyespot.saliency.objective import Objective, Targets

Floats = NDArray[np.float64]

_BLUR_TAPS, _BLUR_SIGMA = 11, 5.0


def deletion_curves(
    scorer: Scorer,
    x: NDArray[np.generic],
    maps: NDArray[np.float32],
    classes: NDArray[np.int64],
    *,
    steps: int,
    baseline: NDArray[np.floating[Any]] | float,
    seed: int,
) -> Floats:
    """The probability of each row's class while its pixels are replaced, first things first.

    Args:
        scorer: of the network; its output is a vector (K,).
        x: (B, ., ., .), pictures as the network takes them.
        maps: (B, H, W); the largest value comes first.
        classes: (B,)
        steps: in which all pixels are replaced, nearly as many in each.
        baseline: what replaces a pixel, in the input's own unit: a number, or one by channel.
        seed: of the order of equal values.

    Returns:
        (B, steps + 1), beginning with the whole picture.
    """
    axis = _channel_axis(scorer)
    shape = [1] * x.ndim
    if not isinstance(baseline, float):
        shape[axis] = -1
    empty = np.broadcast_to(np.reshape(baseline, shape), x.shape)
    ranks = pixel_ranks(maps, seed=seed)
    return _replace(scorer, x, _as_input(empty, x.dtype), ranks, classes, steps=steps)


def insertion_curves(
    scorer: Scorer,
    x: NDArray[np.generic],
    maps: NDArray[np.float32],
    classes: NDArray[np.int64],
    *,
    steps: int,
    seed: int,
) -> Floats:
    """The same while the pixels come into a blurred copy of their picture.

    Returns:
        (B, steps + 1), beginning with the blurred copy.
    """
    blurred = _as_input(blur(x, _channel_axis(scorer)), x.dtype)
    ranks = pixel_ranks(maps, seed=seed)
    return _replace(scorer, blurred, x, ranks, classes, steps=steps)


def areas(curves: Floats) -> Floats:
    """The areas under curves (B, S + 1) over the share of pixels, in 0 to 1; (B,)."""
    found: Floats = (curves[:, :-1] + curves[:, 1:]).mean(1) / 2
    return found


def pixel_ranks(maps: NDArray[np.float32], *, seed: int) -> NDArray[np.int64]:
    """The place (B, H, W) of each pixel in its map's order, 0 the largest value."""
    ranks = np.empty(maps.shape, np.int64)
    for row, values in zip(ranks, maps, strict=True):
        chance = np.random.default_rng(seed).random(values.size)
        order = np.lexsort((chance, -values.ravel()))
        row.flat[order] = np.arange(values.size)
    return ranks


def blur(x: NDArray[np.generic], channel_axis: int) -> NDArray[np.floating[Any]]:
    """Blur pictures (B, ., ., .) along height and width."""
    blurred = to_float(x)
    for axis in spatial_axes(channel_axis):
        blurred = np.moveaxis(
            np.moveaxis(blurred, axis, -1) @ _blur_matrix(blurred.shape[axis]).T, -1, axis
        )
    return blurred


def _blur_matrix(size: int) -> NDArray[np.float32]:
    """A Gaussian along one axis, (size, size); each row sums to 1."""
    distance = np.subtract.outer(np.arange(size), np.arange(size))
    weights = np.exp(-(distance**2) / (2 * _BLUR_SIGMA**2)) * (abs(distance) <= _BLUR_TAPS // 2)
    matrix: NDArray[np.float32] = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return matrix


def _replace(
    scorer: Scorer,
    before: NDArray[np.generic],
    after: NDArray[np.generic],
    ranks: NDArray[np.int64],
    classes: NDArray[np.int64],
    *,
    steps: int,
) -> Floats:
    """Score each picture (B, ., ., .) while its pixels turn from `before` into `after`."""
    counts = np.rint(np.linspace(0, ranks[0].size, steps + 1)).astype(np.int64)  # (S + 1,)
    ranks = np.expand_dims(ranks, _channel_axis(scorer))  # -> (B, ., ., .), one channel
    curves = np.empty((len(before), steps + 1))
    parts = -(-curves.size // scorer.rows_at_once(before.shape[1:]))
    for pairs in np.array_split(np.arange(curves.size), parts):
        rows, places = np.divmod(pairs, steps + 1)
        is_replaced = ranks[rows] < counts[places].reshape(-1, 1, 1, 1)
        x = np.where(is_replaced, after[rows], before[rows])
        scored = Objective(Targets(classes[rows]), "probability")(scorer.scores(x))
        curves[rows, places] = scored.values
    return curves


def _as_input(x: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.generic]:
    found: NDArray[np.generic] = (np.rint(x) if dtype.kind in "iu" else x).astype(dtype)
    return found


def _channel_axis(scorer: Scorer) -> int:
    assert scorer.channel_axis is not None
    return scorer.channel_axis
