"""Rules of sums, products, powers and matrices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from eyespot.exporter.errors import GradientError
from eyespot.exporter.gradient_graph.rule import Rule, Step

# Keeps a division by zero from being one.
_LEAST_LENGTH = 1e-30


def _sum(step: Step) -> dict[int, str]:
    return {i: _to_input(step, i, step.gradient) for i in step.asked}


def _difference(step: Step) -> dict[int, str]:
    signed = {0: step.gradient}
    if 1 in step.asked:
        signed[1] = step.emit("Neg", step.gradient)
    return {i: _to_input(step, i, signed[i]) for i in step.asked}


def product(step: Step) -> dict[int, str]:
    """Give each factor the gradient times the other."""
    others = {0: step.input(1), 1: step.input(0)}
    return {i: _to_input(step, i, step.emit("Mul", step.gradient, others[i])) for i in step.asked}


def _quotient(step: Step) -> dict[int, str]:
    by_divisor = step.emit("Div", step.gradient, step.input(1))
    found = {}
    if 0 in step.asked:
        found[0] = _to_input(step, 0, by_divisor)
    if 1 in step.asked:
        found[1] = _to_input(step, 1, step.emit("Neg", step.emit("Mul", by_divisor, step.y)))
    return found


def _power(step: Step) -> dict[int, str]:
    exponent = step.graph.expect_value(step.input(1), "exponents")
    if exponent.size != 1:
        raise GradientError("it has an exponent for each element")
    lower = step.emit("Pow", step.x, step.graph.number(float(exponent.item()) - 1))
    slope = step.emit("Mul", lower, step.graph.number(float(exponent.item())))
    return step.times(slope)


def _larger_or_smaller(step: Step) -> dict[int, str]:
    if len(step.node.input) > 2:
        raise GradientError("it has more than two inputs")
    is_first = step.emit("Equal", step.input(0), step.y)
    masks = {0: is_first, 1: ""}
    if 1 in step.asked:
        masks[1] = step.emit("Not", is_first)
    kept = {
        i: step.emit("Mul", step.gradient, step.emit("Cast", masks[i], to=1)) for i in step.asked
    }
    return {i: _to_input(step, i, gradient) for i, gradient in kept.items()}


def _choice(step: Step) -> dict[int, str]:
    chosen = step.emit("Cast", step.x, to=1)
    masks = {1: chosen, 2: ""}
    if 2 in step.asked:
        masks[2] = step.emit("Sub", step.graph.number(1), chosen)
    return {i: _to_input(step, i, step.emit("Mul", step.gradient, masks[i])) for i in step.asked}


def _gemm(step: Step) -> dict[int, str]:
    """Y = alpha A B' + beta C, of which A is the batch."""
    options = step.attributes
    found = {}
    if 0 in step.asked:
        if options.get("transA", 0):
            raise GradientError("its first input is transposed")
        found[0] = step.emit(
            "Gemm",
            step.gradient,
            step.input(1),
            alpha=float(options.get("alpha", 1.0)),
            transB=1 - options.get("transB", 0),
        )
    return found


def _matmul(step: Step) -> dict[int, str]:
    a, b = step.input(0), step.input(1)
    if min(len(step.graph.shape(a)), len(step.graph.shape(b))) < 2:
        raise GradientError("one of its inputs is a vector")
    found = {}
    if 0 in step.asked:
        found[0] = step.emit("MatMul", step.gradient, _transposed(step, b))
    if 1 in step.asked:
        found[1] = step.emit("MatMul", _transposed(step, a), step.gradient)
    return {i: _sum_rows(step, i, gradient) for i, gradient in found.items()}


def _transposed(step: Step, name: str) -> str:
    axes = list(range(len(step.graph.shape(name))))
    return step.emit("Transpose", name, perm=[*axes[:-2], axes[-1], axes[-2]])


def _sum_rows(step: Step, position: int, gradient: str) -> str:
    """Sum over the axes of the batch that one input of a product lacks."""
    own, other = (len(step.graph.shape(step.input(i))) for i in (position, 1 - position))
    if own >= other:
        return gradient
    return step.emit("ReduceSum", gradient, step.graph.integers(range(other - own)), keepdims=0)


def _to_input(step: Step, position: int, gradient: str) -> str:
    return step.graph.sum_to(gradient, step.input(position), step.y)


def _mean(step: Step) -> dict[int, str]:
    axes = _axes(step)
    sizes = [step.graph.shape(step.x)[axis] for axis in axes]
    if all(isinstance(size, int) for size in sizes):
        count = float(np.prod([size for size in sizes if isinstance(size, int)]))
        share = step.emit("Mul", step.gradient, step.graph.number(1 / count))
    else:
        counts = [step.emit("Size", name) for name in (step.x, step.y)]
        count_name = step.emit("Cast", step.emit("Div", *counts), to=1)
        share = step.emit("Div", step.gradient, count_name)
    return {0: _spread(step, share, axes)}


def _total(step: Step) -> dict[int, str]:
    return {0: _spread(step, step.gradient, _axes(step))}


def _length(step: Step) -> dict[int, str]:
    """Give x / y, and nothing where all of x is zero, as PyTorch does."""
    length = step.emit("Max", step.y, step.graph.number(_LEAST_LENGTH))
    share = step.emit("Div", step.gradient, length)
    return {0: step.emit("Mul", _spread(step, share, _axes(step)), step.x)}


def _axes(step: Step) -> list[int]:
    rank = len(step.graph.shape(step.x))
    if step.node.op_type.startswith("Global"):
        return list(range(2, rank))
    given = (
        step.graph.expect_value(step.input(1), "axes").tolist()
        if step.input(1)
        else step.attributes.get("axes")
    )
    if not given:
        return [] if step.attributes.get("noop_with_empty_axes") else list(range(rank))
    return sorted(axis % rank for axis in given)


def _spread(step: Step, gradient: str, axes: list[int]) -> str:
    """Repeat a gradient along the axes that were summed over."""
    is_kept = step.node.op_type.startswith("Global") or step.attributes.get("keepdims", 1)
    if not is_kept:
        gradient = step.emit("Unsqueeze", gradient, step.graph.integers(axes))
    return step.emit("Expand", gradient, step.emit("Shape", step.x))


RULES: Mapping[str, Rule] = {
    "Add": _sum,
    "Sum": _sum,
    "Sub": _difference,
    "Div": _quotient,
    "Pow": _power,
    "Max": _larger_or_smaller,
    "Min": _larger_or_smaller,
    "Where": _choice,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "ReduceMean": _mean,
    "GlobalAveragePool": _mean,
    "ReduceSum": _total,
    "ReduceL2": _length,
}
