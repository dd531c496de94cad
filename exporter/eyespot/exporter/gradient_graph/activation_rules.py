"""Rules of functions of each element alone, and of rectifiers, whose rule can be another.

A mask is a cast of a comparison and a product: in ONNX Runtime that takes a tenth of the time
of `Where`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import onnx

from eyespot.exporter.errors import GradientError
from eyespot.exporter.gradient_graph.arithmetic_rules import product
from eyespot.exporter.gradient_graph.gates import find_gated, gated_slope, gelu_slope
from eyespot.exporter.gradient_graph.graph import Graph
from eyespot.exporter.gradient_graph.rule import Rule, Step

# Gives the derivative at each element.
Slope = Callable[[Step], str]

# As ONNX has them where a node does not say.
_SELU_ALPHA, _SELU_GAMMA = 1.6732632423543772, 1.0507009873554805


def is_rectifier(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tell whether a node is a rectifier: no more than zero below zero, and growing above."""
    if find_gated(graph, node) is not None:
        return True
    if node.op_type == "Clip":
        value = graph.value(node.input[1]) if len(node.input) > 1 else None
        return value is not None and float(value) == 0
    return node.op_type in _RECTIFIERS


def _is_above(step: Step, name: str, bound: float) -> str:
    """Give one where a value is above a bound, and else zero."""
    compared = step.emit("Greater", name, step.graph.number(bound))
    return step.emit("Cast", compared, to=1)


def _relu(step: Step) -> str:
    return _is_above(step, step.y, 0)


def _clip(step: Step) -> str:
    """Give one strictly between the bounds; of what is given, so that it can be fused."""
    low, high = (
        step.graph.expect_value(step.input(i), "bounds") if step.input(i) else None for i in (1, 2)
    )
    distances = []
    if low is not None:
        is_zero = float(low) == 0
        distances.append(step.y if is_zero else step.emit("Sub", step.y, step.input(1)))
    if high is not None:
        distances.append(step.emit("Sub", step.input(2), step.y))
    if not distances:
        raise GradientError("it has no bounds")
    product = distances[0] if len(distances) == 1 else step.emit("Mul", *distances)
    return _is_above(step, product, 0)


def _leaky(step: Step) -> str:
    """Give one above zero, and the slope below."""
    alpha = float(step.attributes.get("alpha", 0.01))
    above = step.emit("Mul", _is_above(step, step.x, 0), step.graph.number(1 - alpha))
    return step.emit("Add", above, step.graph.number(alpha))


def _prelu(step: Step) -> str:
    if 1 in step.asked:
        raise GradientError("its slopes depend on the input")
    above = _is_above(step, step.x, 0)
    below = step.emit("Sub", step.graph.number(1), above)
    return step.emit("Add", above, step.emit("Mul", below, step.input(1)))


def _elu(step: Step) -> str:
    """Give one above zero; below, what is given plus alpha."""
    alpha = float(step.attributes.get("alpha", 1.0))
    above = _is_above(step, step.x, 0)
    below = step.emit("Sub", step.graph.number(1), above)
    curved = step.emit("Add", step.y, step.graph.number(alpha))
    return step.emit("Add", above, step.emit("Mul", below, curved))


def _celu(step: Step) -> str:
    """Give one above zero; below, what is given over alpha, plus one."""
    alpha = float(step.attributes.get("alpha", 1.0))
    below = step.emit("Min", step.y, step.graph.number(0))
    curved = step.emit("Mul", below, step.graph.number(1 / alpha))
    return step.emit("Add", curved, step.graph.number(1))


def _selu(step: Step) -> str:
    """Give gamma above zero; below, what is given plus alpha gamma."""
    alpha = float(step.attributes.get("alpha", _SELU_ALPHA))
    gamma = float(step.attributes.get("gamma", _SELU_GAMMA))
    above = _is_above(step, step.x, 0)
    below = step.emit("Sub", step.graph.number(1), above)
    curved = step.emit("Add", step.y, step.graph.number(alpha * gamma))
    return step.emit(
        "Add",
        step.emit("Mul", above, step.graph.number(gamma)),
        step.emit("Mul", below, curved),
    )


def _mish(step: Step) -> str:
    """Give t + x s (1 - t^2), t being tanh(softplus(x)) and s sigmoid(x)."""
    bent = step.emit("Tanh", step.emit("Softplus", step.x))
    flat = step.emit("Sub", step.graph.number(1), step.emit("Mul", bent, bent))
    opened = step.emit("Mul", step.x, step.emit("Sigmoid", step.x))
    return step.emit("Add", bent, step.emit("Mul", opened, flat))


def _hard_swish(step: Step) -> str:
    """Give zero below -3, one above 3, and x / 3 + 1 / 2 between."""
    line = step.emit("Add", step.emit("Div", step.x, step.graph.number(3)), step.graph.number(0.5))
    between = step.emit("Sub", _is_above(step, step.x, -3), above := _is_above(step, step.x, 3))
    return step.emit("Add", above, step.emit("Mul", between, line))


def _hard_sigmoid(step: Step) -> str:
    alpha = float(step.attributes.get("alpha", 0.2))
    distance = step.emit("Sub", step.graph.number(1), step.y)
    inside = _is_above(step, step.emit("Mul", step.y, distance), 0)
    return step.emit("Mul", inside, step.graph.number(alpha))


def _sigmoid(step: Step) -> str:
    return step.emit("Mul", step.y, step.emit("Sub", step.graph.number(1), step.y))


def _tanh(step: Step) -> str:
    squared = step.emit("Mul", step.y, step.y)
    return step.emit("Sub", step.graph.number(1), squared)


def _softplus(step: Step) -> str:
    return step.emit("Sigmoid", step.x)


def _erf(step: Step) -> str:
    squared = step.emit("Mul", step.x, step.x)
    bell = step.emit("Exp", step.emit("Neg", squared))
    return step.emit("Mul", bell, step.graph.number(2 / math.sqrt(math.pi)))


def _sqrt(step: Step) -> str:
    return step.emit("Div", step.graph.number(0.5), step.y)


def _reciprocal(step: Step) -> str:
    return step.emit("Neg", step.emit("Mul", step.y, step.y))


_RECTIFIERS: Mapping[str, Slope] = {
    "Relu": _relu,
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "Elu": _elu,
    "Celu": _celu,
    "Selu": _selu,
    "HardSwish": _hard_swish,
    "Gelu": gelu_slope,
    "Mish": _mish,
}
# Nothing passes where they give zero.
_ZERO_BELOW = ("Relu", "Clip")
_IDENTITY_ABOVE = ("Relu", "LeakyRelu", "PRelu", "Elu", "Celu")


def _element_by_element(slope: Slope) -> Rule:
    return lambda step: step.times(slope(step))


def _rectifier(slope: Slope) -> Rule:
    """Make the rule of a rectifier, by the derivative that it has."""
    return lambda step: {0: _through_rectifier(step, step.x, slope)}


def _through_rectifier(step: Step, x: str, slope: Slope) -> str:
    """Give the gradient of what a rectifier takes."""
    if step.rectifier == "derivative" or not is_rectifier(step.graph, step.node):
        return step.emit("Mul", step.gradient, slope(step))
    positive = step.emit("Relu", step.gradient)
    if step.rectifier == "guided":
        kept = slope(step)
        if step.node.op_type not in _ZERO_BELOW:
            kept = step.emit("Mul", kept, _is_above(step, step.y, 0))
        return step.emit("Mul", positive, kept)
    if step.node.op_type in _IDENTITY_ABOVE:
        return positive
    above = _is_above(step, x, 0)
    below = step.emit("Sub", step.graph.number(1), above)
    kept = step.emit("Add", below, step.emit("Mul", above, slope(step)))
    return step.emit("Mul", positive, kept)


def _gated_or_product(step: Step) -> Mapping[int, str]:
    """Take x times its gate as one rectifier: nothing passes the gate alone."""
    gated = find_gated(step.graph, step.node)
    if gated is None:
        return product(step)
    x, gate = step.input(gated.x), step.input(gated.gate)
    passed = _through_rectifier(step, x, lambda step: gated_slope(step, x, gate, gated.gate_slope))
    return {gated.x: passed, gated.gate: ""}


def _softmax(step: Step) -> dict[int, str]:
    """Give y (g - sum of g y), along the axis."""
    axis = int(step.attributes.get("axis", -1))
    weighed = step.emit("Mul", step.gradient, step.y)
    total = step.emit("ReduceSum", weighed, step.graph.integers([axis]), keepdims=1)
    return {0: step.emit("Mul", step.y, step.emit("Sub", step.gradient, total))}


def _log_softmax(step: Step) -> dict[int, str]:
    axis = int(step.attributes.get("axis", -1))
    total = step.emit("ReduceSum", step.gradient, step.graph.integers([axis]), keepdims=1)
    share = step.emit("Mul", step.emit("Exp", step.y), total)
    return {0: step.emit("Sub", step.gradient, share)}


_SLOPES: Mapping[str, Slope] = {
    "Sigmoid": _sigmoid,
    "HardSigmoid": _hard_sigmoid,
    "Tanh": _tanh,
    "Softplus": _softplus,
    "Erf": _erf,
    "Exp": lambda step: step.y,
    "Log": lambda step: step.emit("Reciprocal", step.x),
    "Sqrt": _sqrt,
    "Reciprocal": _reciprocal,
    "Abs": lambda step: step.emit("Sign", step.x),
}

RULES: Mapping[str, Rule] = {
    **{name: _rectifier(slope) for name, slope in (*_RECTIFIERS.items(), ("Clip", _clip))},
    **{name: _element_by_element(slope) for name, slope in _SLOPES.items()},
    "Neg": lambda step: {0: step.emit("Neg", step.gradient)},
    "Mul": _gated_or_product,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
}
