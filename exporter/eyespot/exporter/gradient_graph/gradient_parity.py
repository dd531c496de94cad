"""How well the gradients of two backends agree.

A rectifier within rounding of zero may flip and move a few pixels, so what is measured is the
distance of whole gradients and the angle between them, and no largest difference.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
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

# What is computed at once: the activations of deep networks are large.
_ROWS_AT_ONCE = 4

Array = NDArray[np.generic]


def compare(
    original: Backend,
    found: Backend,
    x: Array,
    *,
    rectifier: Rectifier = "derivative",
    layer: str | None = None,
) -> GradientParityCase:
    """Compare the gradients of the top class's logit.

    Args:
        original: Is right.
        found: Is compared.
        x: (B, ...), what the network takes.
        rectifier: How gradients pass rectifiers.
        layer: By what; None is the input.

    Raises:
        GradientError: They differ by more than is tolerated.
    """
    by = "input" if layer is None else f"layer {layer}"
    name = f"by {by}" if rectifier == "derivative" else f"by {by}, {rectifier}"
    distances: list[float] = []
    cosines: list[float] = []
    for expected, given in _pairs(original, found, x, rectifier, layer):
        for a, b in ((expected.gradients, given.gradients), (expected.values, given.values)):
            if a.shape != b.shape:
                raise GradientError(f"{name}: PyTorch gives {list(a.shape)}, not {list(b.shape)}")
        distances.extend(_rows(_distance, expected.gradients, given.gradients))
        cosines.extend(_rows(_cosine, expected.gradients, given.gradients))
        if layer is not None:
            cosines.extend(_rows(_cosine, expected.values, given.values))
    case = GradientParityCase(name, len(x), float(np.median(distances)), min(cosines))
    if case.median_rel_l2 > MEDIAN_REL_L2:
        case = replace(case, own_rel_l2=_own_distance(original, x, rectifier, layer))
    allowed = max(MEDIAN_REL_L2, _TIMES_ITS_OWN * case.own_rel_l2)
    if not (case.median_rel_l2 <= allowed and case.least_cosine >= LEAST_COSINE):
        raise GradientError(
            f"its gradients {name} differ from PyTorch's by {case.median_rel_l2:.3g} at the "
            f"median of {len(x)} inputs, with a cosine of at least {case.least_cosine:.6f}; "
            f"{allowed:.3g} and {LEAST_COSINE:g} are tolerated"
        )
    return case


def _own_distance(original: Backend, x: Array, rectifier: Rectifier, layer: str | None) -> float:
    """Measure how far PyTorch's gradients move when it sums in another order."""
    distances: list[float] = []
    for start in range(0, len(x), _ROWS_AT_ONCE):
        rows = x[start : start + _ROWS_AT_ONCE]
        objective = Objective(Targets(np.full(len(rows), TOP_CLASS))).resolve(original.scores(rows))
        first = original.gradients(rows, objective, rectifier=rectifier, layer=layer)
        with _without_onednn():
            second = original.gradients(rows, objective, rectifier=rectifier, layer=layer)
        distances.extend(_rows(_distance, first.gradients, second.gradients))
    return float(np.median(distances))


@contextlib.contextmanager
def _without_onednn() -> Iterator[None]:
    """Have PyTorch compute convolutions by its own kernels."""
    with warnings.catch_warnings():
        # About GPUs of which there is no question.
        warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN", UserWarning)
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def _pairs(
    original: Backend, found: Backend, x: Array, rectifier: Rectifier, layer: str | None
) -> Iterator[tuple[Gradients, Gradients]]:
    for start in range(0, len(x), _ROWS_AT_ONCE):
        rows = x[start : start + _ROWS_AT_ONCE]
        top = Objective(Targets(np.full(len(rows), TOP_CLASS)))
        objective = top.resolve(original.scores(rows))  # both are asked for the same classes
        yield (
            original.gradients(rows, objective, rectifier=rectifier, layer=layer),
            found.gradients(rows, objective, rectifier=rectifier, layer=layer),
        )


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
