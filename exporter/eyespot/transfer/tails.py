"""What comes behind the head of a network, as a module of its own.

Behind most heads comes nothing. Network in Network rectifies and averages the maps of its last
convolution, and the network of the zip codes squashes its outputs: a head that is trained on
features by itself must be followed by that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx, nn

from eyespot.exporter.capture import capture, held_in_eval, output_nodes
from eyespot.exporter.errors import CaptureError
from eyespot.transfer.errors import HeadError
from eyespot.transfer.heads import Head


def tail_of(network: nn.Module, head: Head, sample_size: Sequence[int]) -> nn.Module:
    """Cut what comes behind the head out of the network, which stays as it is.

    Args:
        network: On the CPU.
        head: Of the network.
        sample_size: Of one input: (C, H, W).

    Returns:
        A module without weights, from what the head gives to the logits (B, K).

    Raises:
        HeadError: It has weights, depends on more than the head, or cannot be captured.
    """
    if head.is_last:
        return nn.Identity()
    with held_in_eval(network):
        try:
            program = capture(network, torch.zeros(1, *sample_size))
        except CaptureError as error:
            raise HeadError(f"what comes behind {head.name} cannot be had: {error}") from error
    graph = fx.Graph()
    calls = [node for node in program.graph.nodes if _is_inside(node, head.name)]
    copies = {calls[-1]: graph.placeholder("given")}
    for node in calls[-1].graph.nodes:
        if node.op == "call_function" and node > calls[-1] and copies.keys() & set(_sources(node)):
            copies[node] = graph.node_copy(node, lambda source: _copy_of(source, copies, head))
    (logits,) = output_nodes(program)
    graph.output(copies[logits])
    graph.lint()
    return fx.GraphModule(nn.Module(), graph).eval()


def _is_inside(node: fx.Node, name: str) -> bool:
    stack = node.meta.get("nn_module_stack") or {}
    return node.op == "call_function" and name in [scope for scope, _ in stack.values()]


def _sources(node: fx.Node) -> list[fx.Node]:
    return node.all_input_nodes


def _copy_of(source: fx.Node, copies: dict[fx.Node, fx.Node], head: Head) -> fx.Node:
    """Give the copy of a node; the number of rows is that of what the head gives."""
    if source in copies:
        return copies[source]
    if source.target is torch.ops.aten.sym_size.int and source.args[1] == 0:
        given = next(iter(copies.values()))
        with given.graph.inserting_after(given):
            copies[source] = given.graph.call_function(source.target, (given, 0))
        return copies[source]
    raise HeadError(
        f"what comes behind {head.name} takes {source.name}, which is not the head's: the head "
        "cannot be trained by itself; name a later layer (--head)"
    )
