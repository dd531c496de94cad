"""Reverse mode on an ONNX graph: from the output back to where gradients begin, node by node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import onnx

from eyespot.exporter.errors import GradientError
from eyespot.exporter.gradient_graph.graph import Graph
from eyespot.exporter.gradient_graph.rule import Rule, Step
from eyespot.saliency.backend import Rectifier

# No gradient passes them: what they give does not change with the numbers they take.
_WITHOUT_GRADIENT = {"Shape", "Size", "ConstantOfShape", "ArgMax", "ArgMin", "NonZero"}


def differentiate(
    graph: Graph,
    *,
    leaf: str,
    output: str,
    cotangent: str,
    rules: Mapping[str, Rule],
    rectifier: Rectifier = "derivative",
    wanted: Collection[str],
) -> Mapping[str, str]:
    """Write the backward pass behind the forward pass.

    Args:
        graph: Is changed.
        leaf: The value at which gradients begin.
        output: What is differentiated.
        cotangent: The derivative of the score by the output.
        rules: By the operator.
        rectifier: How gradients pass rectifiers.
        wanted: Values whose gradients are to be known; nothing is computed beyond them.

    Returns:
        The names of the gradients, by those of the wanted values.

    Raises:
        GradientError: An operator on the way has no rule; it is named.
    """
    nodes = list(graph.model.graph.node)
    active = active_values(graph, nodes, leaf)
    if output not in active:
        raise GradientError("the output does not depend on the input")
    found: dict[str, list[str]] = defaultdict(list)
    found[output].append(cotangent)
    needed = active & _between(nodes, wanted, active)
    gradients: dict[str, str] = {}
    for node in reversed(nodes):
        given = [_sum(graph, found.pop(name, [])) for name in node.output]
        for name, gradient in zip(node.output, given, strict=True):
            if name in wanted and gradient:
                gradients[name] = gradient
        if not any(given):
            continue
        asked = [i for i, name in enumerate(node.input) if name in needed]
        if not asked:
            continue
        for position, gradient in _pull(graph, node, given, asked, rules, rectifier).items():
            if gradient:
                found[node.input[position]].append(gradient)
    if leaf in wanted:
        gradients[leaf] = _sum(graph, found.pop(leaf, [])) or graph.zeros_like(leaf)
    return gradients


def active_values(graph: Graph, nodes: Collection[onnx.NodeProto], leaf: str) -> set[str]:
    """Find the values through which gradients pass: they depend on the leaf, in numbers."""
    active = {leaf}
    for node in nodes:
        if node.op_type in _WITHOUT_GRADIENT or active.isdisjoint(node.input):
            continue
        active.update(name for name in node.output if graph.is_floating(name))
    return active


def _between(
    nodes: Collection[onnx.NodeProto], wanted: Collection[str], active: Collection[str]
) -> set[str]:
    """Find the wanted values and all that depends on them."""
    between = set(wanted)
    for node in nodes:
        if not between.isdisjoint(node.input):
            between.update(name for name in node.output if name in active)
    return between


def _pull(
    graph: Graph,
    node: onnx.NodeProto,
    gradients: list[str],
    asked: list[int],
    rules: Mapping[str, Rule],
    rectifier: Rectifier,
) -> Mapping[int, str]:
    rule = rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if rule is None:
        raise GradientError(f"{node.op_type} ({node.output[0]}) has no rule for its gradient")
    try:
        found = rule(Step(graph, node, tuple(gradients), tuple(asked), rectifier))
    except GradientError as error:
        raise GradientError(f"{node.op_type} ({node.output[0]}): {error}") from error
    missing = [position for position in asked if position not in found]
    if missing:
        raise GradientError(
            f"{node.op_type} ({node.output[0]}) has no rule for the gradient of its input "
            f"{missing[0]}"
        )
    return {position: found[position] for position in asked}


def _sum(graph: Graph, parts: list[str]) -> str:
    """Name the sum of gradients; nothing of none."""
    if len(parts) < 2:
        return parts[0] if parts else ""
    return graph.emit("Sum", *parts)
