"""What kinds of operators there are, and a graph without operators that write in place."""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from eyespot.saliency.torch_backend.program import operator_name

# Zero or less below zero, and growing above. Those of the first are the identity there.
_IDENTITY_ABOVE = {"relu", "leaky_relu", "elu", "celu", "prelu", "threshold", "clamp_min", "clamp"}
_CURVED_ABOVE = {"relu6", "hardtanh", "silu", "hardswish", "gelu", "mish", "selu"}
_ZERO_BELOW = {"relu", "relu6", "hardtanh", "threshold", "clamp_min", "clamp"}
_MORE_ACTIVATIONS = {"sigmoid", "tanh", "hardsigmoid", "softplus", "log_sigmoid", "softsign"}
# Move or copy elements, and compute nothing.
REARRANGEMENTS = {
    *("view", "reshape", "flatten", "permute", "transpose", "t", "squeeze", "unsqueeze", "slice"),
    *("select", "cat", "stack", "clone", "contiguous", "to", "_to_copy", "detach_", "alias"),
    *("dropout", "feature_dropout", "unflatten", "split", "chunk", "getitem", "expand", "narrow"),
    *("channel_shuffle", "pixel_shuffle", "split_with_sizes", "unbind", "movedim", "lift_fresh"),
    *("_unsafe_view", "index_select", "repeat", "zeros_like"),
}
CONVOLUTIONS = {"conv1d", "conv2d", "conv3d", "conv_transpose2d", "convolution"}
DENSE = {"linear", "addmm", "matmul", "mm", "bmm"}
# Each output a mean or a fixed blend of inputs.
BLENDS = {
    *("mean", "sum", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"),
    *("upsample_nearest2d", "upsample_bilinear2d", "pad", "constant_pad_nd", "zero_pad2d"),
}
NORMS = {"batch_norm", "_native_batch_norm_legit_no_training"}
SHIFTS = {"add", "sub", "rsub"}
SCALES = {"mul", "div", "neg"}
MAX_POOLS = {"max_pool2d"}


def base_name(node: fx.Node) -> str:
    """The operator's name without namespace, and without the underscore of in-place ones."""
    name = operator_name(node).removeprefix("aten.")
    return name.removesuffix("_") if not name.startswith("_") and name != "detach_" else name


def is_rectifier(node: fx.Node) -> bool:
    """Whether a node is a rectifier: no more than zero below zero, and growing above."""
    name = base_name(node)
    if name == "hardtanh":
        return bool(_argument(node, 1, "min_val", -1) == 0)
    if name in ("clamp", "clamp_min"):
        return _argument(node, 1, "min", None) == 0
    if name == "threshold":
        return node.args[1:3] == (0, 0)
    return name in _IDENTITY_ABOVE | _CURVED_ABOVE


def is_activation(node: fx.Node) -> bool:
    """Whether a node is a function of each element alone, such as a rectifier or tanh."""
    name = base_name(node)
    return name in _IDENTITY_ABOVE | _CURVED_ABOVE | _MORE_ACTIVATIONS


def is_identity_above_zero(node: fx.Node) -> bool:
    """Whether a rectifier leaves what is positive as it is."""
    is_capped = base_name(node) == "clamp" and _argument(node, 2, "max", None) is not None
    return base_name(node) in _IDENTITY_ABOVE and not is_capped


def is_zero_below_zero(node: fx.Node) -> bool:
    """Whether a rectifier's derivative is zero wherever its output is not positive."""
    return base_name(node) in _ZERO_BELOW


def without_writes(graph: fx.Graph) -> None:
    """Turn operators that write in place into those that give a value of their own.

    Whoever used what was written into afterwards, uses the value instead.
    """
    order = {node: number for number, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        schema = getattr(node.target, "_schema", None)
        if schema is None or not (schema.arguments and _is_written(schema.arguments[0])):
            continue
        packet = getattr(torch.ops.aten, base_name(node), None)
        if packet is None or node.target._overloadname not in packet.overloads():
            continue  # there is no such value; a rule for it there will not be either
        node.target = getattr(packet, node.target._overloadname)
        written = node.args[0]
        for user in list(written.users):
            if order.get(user, len(order)) > order[node]:
                user.replace_input_with(written, node)


def change_rule(node: fx.Node, rule: Callable[..., Any], *options: object) -> None:
    """Have an operator computed by a rule, which has a backward pass of its own.

    The rule takes the operator, its keyword arguments, the options, and the operator's own
    arguments. It is a plain function: a compiled graph calls what it can name.
    """
    arguments: Any = (node.target, node.kwargs, *options, *node.args)
    node.args = arguments
    node.target, node.kwargs = rule, {}


def _is_written(argument: torch.Argument) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _argument(node: fx.Node, position: int, name: str, default: object) -> object:
    if position < len(node.args):
        return node.args[position]
    return node.kwargs.get(name, default)
