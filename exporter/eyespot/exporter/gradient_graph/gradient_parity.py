"""How well the gradients of two backends agree.

A rectifier within rounding of zero may flip and move a few pixels, so what is measured is the
distance of whole gradients and the angle between them, and no largest difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eyespot.exporter.errors import GradientError
from eyespot.saliency import TOP_CLASS, Backend, Gradients, Objective, Targets
from eyespot.saliency.backend import Rectifier
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.v1.manifest import GradientParityCase

MEDIAN_REL_L2 = 1e-3
LEAST_COSINE = 0.999
# Networks of millions of rectifiers have one within rounding of zero for most inputs; then
# PyTorch's own gradients move as much when its weights are rounded anew, and so may ours.
_TIMES_ITS_OWN = 4
# It is measured on half of the rows, but not on fewer.
_LEAST_OWN_ROWS = 4

# What is computed at once: the activations of deep networks are large, and of small inputs one
# row takes as long as several.
_ROWS_AT_ONCE, _ELEMENTS_AT_ONCE = 4, 2**15

_SEED = 0
_RANK_OF_MAPS = 3  # (K, H, W)

Array = NDArray[np.generic]


@dataclass(frozen=True)
class OwnMovement:
    """How far PyTorch's gradients move when its weights are rounded anew.

    Attributes:
        rel_l2: In the mean: some rows do not move, and some by a rectifier or more.
        cosine: Of the row that turns most.
    """

    rel_l2: float = 0.0
    cosine: float = 1.0


def compare(
    original: TorchBackend,
    found: Backend,
    x: Array,
    *,
    rectifier: Rectifier = "derivative",
    layer: str | None = None,
    own: OwnMovement | None = None,
    progress: Callable[[str], None] | None = None,
) -> GradientParityCase:
    """Compare the gradients of the top class's logit.

    Args:
        original: Is right.
        found: Is compared.
        x: (B, ...), what the network takes.
        rectifier: How gradients pass rectifiers.
        layer: By what; None is the input.
        own: How far PyTorch's gradients of this network are known to move; measured where it is
            needed and not known.
        progress: Told what is being done.

    Raises:
        GradientError: They differ by more than is tolerated.
    """
    tell = progress or (lambda _: None)
    by = "input" if layer is None else f"layer {layer}"
    name = f"by {by}" if rectifier == "derivative" else f"by {by}, {rectifier}"
    distances: list[float] = []
    cosines: list[float] = []
    first: list[tuple[Array, Objective, Gradients]] = []
    for rows in _parts(x):
        tell(f"comparing gradient {len(distances) + 1} of {len(x)} {name}")
        objective, expected = _expected(original, rows, rectifier, layer)
        given = found.gradients(rows, objective, rectifier=rectifier, layer=layer)
        for a, b in ((expected.gradients, given.gradients), (expected.values, given.values)):
            if a.shape != b.shape:
                raise GradientError(f"{name}: PyTorch gives {list(a.shape)}, not {list(b.shape)}")
        distances.extend(_rows(_distance, expected.gradients, given.gradients))
        cosines.extend(_rows(_cosine, expected.gradients, given.gradients))
        if layer is not None:
            cosines.extend(_rows(_cosine, expected.values, given.values))
        if sum(len(each) for each, *_ in first) < max(_LEAST_OWN_ROWS, len(x) // 2):
            first.append((rows, objective, expected))
    case = GradientParityCase(name, len(x), float(np.median(distances)), min(cosines))
    if not _agrees(case):
        tell("measuring how far PyTorch's own gradients move")
        own = own or _measure_own(original, first, rectifier, layer)
        case = case._replace(own_rel_l2=own.rel_l2, own_cosine=own.cosine)
    if not _agrees(case):
        raise GradientError(
            f"its gradients {name} differ from PyTorch's by {case.median_rel_l2:.3g} at the "
            f"median of {len(x)} inputs, with a cosine of at least {case.least_cosine:.6f}; "
            f"{_most_rel_l2(case):.3g} and {_least_cosine(case):.6g} are tolerated"
        )
    return case


def _agrees(case: GradientParityCase) -> bool:
    is_near = case.median_rel_l2 <= _most_rel_l2(case)
    return is_near and case.least_cosine >= _least_cosine(case)


def _most_rel_l2(case: GradientParityCase) -> float:
    return max(MEDIAN_REL_L2, _TIMES_ITS_OWN * case.own_rel_l2)


def _least_cosine(case: GradientParityCase) -> float:
    return min(LEAST_COSINE, 1 - _TIMES_ITS_OWN * (1 - case.own_cosine))


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


def _measure_own(
    original: TorchBackend,
    first: Sequence[tuple[Array, Objective, Gradients]],
    rectifier: Rectifier,
    layer: str | None,
) -> OwnMovement:
    nudged = original.nudged(seed=_SEED)
    distances: list[float] = []
    cosines: list[float] = []
    for rows, objective, expected in first:
        again = nudged.gradients(rows, objective, rectifier=rectifier, layer=layer)
        distances.extend(_rows(_distance, expected.gradients, again.gradients))
        cosines.extend(_rows(_cosine, expected.gradients, again.gradients))
    return OwnMovement(float(np.mean(distances)), min(cosines))


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
