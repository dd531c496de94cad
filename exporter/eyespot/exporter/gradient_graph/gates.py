"""Rectifiers that are x times a gate, which opens as x grows: SiLU and GELU.

ONNX writes them with several operators; GELU has one of its own from opset 20 on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import onnx

from eyespot.exporter.gradient_graph.graph import Graph
from eyespot.exporter.gradient_graph.rule import Step

# Gives x times the derivative of the gate, of x and the gate.
GateSlope: TypeAlias = Callable[[Step, str, str], str]

# GELU's approximation: the gate is (1 + tanh(_SCALE (x + _CUBIC x^3))) / 2.
_SCALE, _CUBIC = math.sqrt(2 / math.pi), 0.044715
_COMMUTATIVE = ("Add", "Mul")


@dataclass(frozen=True)
class Gated:
    """A product that is a rectifier.

    Attributes:
        x: The position of what is rectified.
        gate: The position of its gate.
        gate_slope: Of the gate.
    """

    x: int
    gate: int
    gate_slope: GateSlope


def find_gated(graph: Graph, node: onnx.NodeProto) -> Gated | None:
    """Tell what a product takes as x and what as the gate of x; None where it is no rectifier."""
    if node.op_type != "Mul":
        return None
    for x, gate in ((0, 1), (1, 0)):
        for is_gate, slope in _GATES:
            if is_gate(graph, node.input[gate], node.input[x]):
                return Gated(x, gate, slope)
    return None


def gated_slope(step: Step, x: str, gate: str, gate_slope: GateSlope) -> str:
    """Give the derivative of x times its gate."""
    return step.emit("Add", gate, gate_slope(step, x, gate))


def gelu_slope(step: Step) -> str:
    """Give the derivative of GELU as one operator, whose gate is computed anew."""
    x, number = step.x, step.graph.number
    if step.attributes.get("approximate", b"none") == b"tanh":
        cubic = step.emit("Mul", step.emit("Mul", _square(step, x), x), number(_CUBIC))
        bent = step.emit("Tanh", step.emit("Mul", step.emit("Add", x, cubic), number(_SCALE)))
        slope = _tanh_gate_slope
    else:
        bent = step.emit("Erf", step.emit("Div", x, number(math.sqrt(2))))
        slope = _normal_gate_slope
    gate = step.emit("Mul", step.emit("Add", bent, number(1)), number(0.5))
    return gated_slope(step, x, gate, slope)


def _is_sigmoid(graph: Graph, gate: str, x: str) -> bool:
    return _given_to(graph, gate, "Sigmoid") == x


def _is_normal_gate(graph: Graph, gate: str, x: str) -> bool:
    """Tell (1 + erf(x / sqrt(2))) / 2."""
    bent = _given_to(graph, _half_of_one_more(graph, gate), "Erf")
    return _beside(graph, bent, "Div", math.sqrt(2)) == x


def _is_tanh_gate(graph: Graph, gate: str, x: str) -> bool:
    bent = _given_to(graph, _half_of_one_more(graph, gate), "Tanh")
    total = graph.producer(_beside(graph, bent, "Mul", _SCALE))
    if total is None or total.op_type != "Add" or total.input[0] != x:
        return False
    return _beside(graph, _beside(graph, total.input[1], "Mul", _CUBIC), "Pow", 3) == x


def _half_of_one_more(graph: Graph, name: str) -> str:
    return _beside(graph, _beside(graph, name, "Mul", 0.5), "Add", 1)


def _given_to(graph: Graph, name: str, operator: str) -> str:
    """Name what an operator takes, by what it gives; empty where that is of another."""
    node = graph.producer(name)
    return str(node.input[0]) if node is not None and node.op_type == operator else ""


def _beside(graph: Graph, name: str, operator: str, number: float) -> str:
    """Name what an operator takes beside a number, by what it gives; empty where it is not so."""
    node = graph.producer(name)
    if node is None or node.op_type != operator:
        return ""
    for given in (0, 1) if operator in _COMMUTATIVE else (0,):
        value = graph.value(node.input[1 - given])
        if value is not None and value.size == 1 and math.isclose(value, number, rel_tol=1e-5):
            return str(node.input[given])
    return ""


def _sigmoid_slope(step: Step, x: str, gate: str) -> str:
    """Give y (1 - s), s being the gate."""
    return step.emit("Mul", step.y, step.emit("Sub", step.graph.number(1), gate))


def _normal_gate_slope(step: Step, x: str, gate: str) -> str:
    """Give x exp(-x^2 / 2) / sqrt(2 pi)."""
    halved = step.emit("Mul", _square(step, x), step.graph.number(-0.5))
    bell = step.emit("Mul", step.emit("Exp", halved), step.graph.number(1 / math.sqrt(2 * math.pi)))
    return step.emit("Mul", x, bell)


def _tanh_gate_slope(step: Step, x: str, gate: str) -> str:
    """Give y (1 - s) times twice the derivative of what tanh takes, s being the gate."""
    bent = step.emit("Mul", _square(step, x), step.graph.number(6 * _SCALE * _CUBIC))
    steepness = step.emit("Add", bent, step.graph.number(2 * _SCALE))
    return step.emit("Mul", _sigmoid_slope(step, x, gate), steepness)


def _square(step: Step, x: str) -> str:
    return step.emit("Mul", x, x)


_GATES: tuple[tuple[Callable[[Graph, str, str], bool], GateSlope], ...] = (
    (_is_sigmoid, _sigmoid_slope),
    (_is_normal_gate, _normal_gate_slope),
    (_is_tanh_gate, _tanh_gate_slope),
)
