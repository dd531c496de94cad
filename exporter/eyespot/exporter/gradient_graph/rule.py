"""What a rule is: from the gradients of a node's outputs to those of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import onnx

from eyespot.exporter.gradient_graph.graph import Graph, attributes_of
from eyespot.saliency.backend import Rectifier


@dataclass(frozen=True)
class Step:
    """One node of the forward pass on the way back.

    Attributes:
        graph: Grows by the nodes that a rule adds.
        node: What is differentiated.
        gradients: Of its outputs; empty where nothing depends on one.
        asked: The positions of the inputs whose gradients are needed.
        rectifier: How gradients pass rectifiers.
    """

    graph: Graph
    node: onnx.NodeProto
    gradients: tuple[str, ...]
    asked: tuple[int, ...]
    rectifier: Rectifier
    attributes: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", attributes_of(self.node))

    @property
    def x(self) -> str:
        """The first input."""
        return str(self.node.input[0])

    @property
    def y(self) -> str:
        """The first output."""
        return str(self.node.output[0])

    @property
    def gradient(self) -> str:
        """That of the first output."""
        return self.gradients[0]

    def input(self, position: int) -> str:
        """The name of an input; empty where it is left out."""
        return str(self.node.input[position]) if position < len(self.node.input) else ""

    def emit(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output, and name that."""
        return self.graph.emit(operator, *inputs, **attributes)

    def times(self, factor: str) -> dict[int, str]:
        """Give the gradient times a factor to the first input."""
        return {0: self.emit("Mul", self.gradient, factor)}


# Gives the gradients of at least the inputs that are asked for, by position; none where nothing
# passes.
Rule: TypeAlias = Callable[[Step], Mapping[int, str]]
