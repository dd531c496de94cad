"""How well the gradients of two backends agree.

A rectifier within rounding of zero may flip and move a few pixels, so what is measured is the
distance of whole gradients and the angle between them, and no largest difference.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from eyespot.exporter.errors import GradientError
from eyespot.saliency import TOP_CLASS, Backend, Gradients, Objective, Targets
from eyespot.saliency.backend import Rectifier
from eyespot.v1.manifest import GradientParityCase

MEDIAN_REL_L2 = 1e-3
LEAST_COSINE = 0.999
# Networks of millions of rectifiers have one within rounding of zero for most inputs; then
# PyTorch's own gradients move as much when it sums in another order, and so may ours.
_TIMES_ITS_OWN = 10

# What that is measured on: it is slow.
_OWN_ROWS = 4

# What is computed at once: the activations of deep networks are large, and of small inputs one
# row takes as long as several.
_ROWS_AT_ONCE, _ELEMENTS_AT_ONCE = 4, 2**15

_RANK_OF_MAPS = 3  # (K, H, W)

Array = NDArray[np.generic]


def compare(
    original: Backend,
    found: Backend,
    x: Array,
    *,
    rectifier: Rectifier = "derivative",
    layer: str | None = None,
    own_rel_l2: float = 0.0,
) -> GradientParityCase:
    """Compare the gradients of the top class's logit.

    Args:
        original: Is right.
        found: Is compared.
        x: (B, ...), what the network takes.
        rectifier: How gradients pass rectifiers.
        layer: By what; None is the input.
        own_rel_l2: How far PyTorch's gradients of this network are known to move when it sums
            in another order; measured where it is needed and not known.

    Raises:
        GradientError: They differ by more than is tolerated.
    """
    by = "input" if layer is None else f"layer {layer}"
    name = f"by {by}" if rectifier == "derivative" else f"by {by}, {rectifier}"
    distances: list[float] = []
    cosines: list[float] = []
    first: list[tuple[Array, Objective, Gradients]] = []
    for rows in _parts(x):
        objective, expected = _expected(original, rows, rectifier, layer)
        given = found.gradients(rows, objective, rectifier=rectifier, layer=layer)
        for a, b in ((expected.gradients, given.gradients), (expected.values, given.values)):
            if a.shape != b.shape:
                raise GradientError(f"{name}: PyTorch gives {list(a.shape)}, not {list(b.shape)}")
        distances.extend(_rows(_distance, expected.gradients, given.gradients))
        cosines.extend(_rows(_cosine, expected.gradients, given.gradients))
        if layer is not None:
            cosines.extend(_rows(_cosine, expected.values, given.values))
        if sum(len(each) for each, *_ in first) < _OWN_ROWS:
            first.append((rows, objective, expected))
    case = GradientParityCase(name, len(x), float(np.median(distances)), min(cosines))
    if case.median_rel_l2 > MEDIAN_REL_L2:
        own_rel_l2 = own_rel_l2 or _own_distance(original, first, rectifier, layer)
        case = replace(case, own_rel_l2=own_rel_l2)
    allowed = max(MEDIAN_REL_L2, _TIMES_ITS_OWN * case.own_rel_l2)
    if not (case.median_rel_l2 <= allowed and case.least_cosine >= LEAST_COSINE):
        raise GradientError(
            f"its gradients {name} differ from PyTorch's by {case.median_rel_l2:.3g} at the "
            f"median of {len(x)} inputs, with a cosine of at least {case.least_cosine:.6f}; "
            f"{allowed:.3g} and {LEAST_COSINE:g} are tolerated"
        )
    return case


def _expected(
    original: Backend, rows: Array, rectifier: Rectifier, layer: str | None
) -> tuple[Objective, Gradients]:
    """Differentiate the original, and name what was: the other is asked for the same."""
    objective = Objective(Targets(np.full(len(rows), TOP_CLASS)))
    if len(original.output_shape) == _RANK_OF_MAPS:  # where each class is seen belongs to it
        objective = objective.resolve(original.scores(rows))
    expected = original.gradients(rows, objective, rectifier=rectifier, layer=layer)
    return replace(
        objective, targets=replace(objective.targets, classes=expected.classes)
    ), expected


def _own_distance(
    original: Backend,
    first: Sequence[tuple[Array, Objective, Gradients]],
    rectifier: Rectifier,
    layer: str | None,
) -> float:
    """Measure how far PyTorch's gradients move when it sums in another order."""
    distances: list[float] = []
    for rows, objective, expected in first:
        with _without_onednn():
            again = original.gradients(rows, objective, rectifier=rectifier, layer=layer)
        distances.extend(_rows(_distance, expected.gradients, again.gradients))
    return float(np.median(distances))


@contextlib.contextmanager
def _without_onednn() -> Iterator[None]:
    """Have PyTorch compute convolutions by its own kernels."""
    with warnings.catch_warnings():
        # About GPUs of which there is no question.
        warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN", UserWarning)
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def _parts(x: Array) -> Iterator[Array]:
    size = max(_ROWS_AT_ONCE, _ELEMENTS_AT_ONCE // math.prod(x.shape[1:]))
    return (x[start : start + size] for start in range(0, len(x), size))


def _rows(
    measure: Callable[[Array, Array], float], expected: Array, found: Array
) -> Iterator[float]:
    for a, b in zip(expected, found, strict=True):
        yield measure(a.astype(np.float64).ravel(), b.astype(np.float64).ravel())


def _distance(expected: Array, found: Array) -> float:
    scale = float(np.linalg.norm(expected))
    difference = float(np.linalg.norm(found - expected))  # type: ignore[operator]
    return difference / scale if scale else difference


def _cosine(expected: Array, found: Array) -> float:
    scale = float(np.linalg.norm(expected) * np.linalg.norm(found))
    if not scale:
        return float(np.array_equal(expected, found))
    return float(np.dot(expected, found)) / scale
