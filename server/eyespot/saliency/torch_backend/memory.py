"""How much memory one row takes on its way through a graph, and back."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from eyespot.saliency.torch_backend.operators import REARRANGEMENTS, base_name
from eyespot.saliency.torch_backend.program import nodes_on_path, operator_name

_OWN_STORAGE = {"cat", "stack", "clone", "to", "_to_copy", "repeat", "index_select"}
_VIEWS = REARRANGEMENTS - _OWN_STORAGE
# A convolution lays its input and output out anew before and after; so does its backward pass.
_LAID_OUT_ANEW = 3


def bytes_per_row(start: fx.Node, row_shape: tuple[int, ...], *, is_differentiated: bool) -> int:
    """Estimate from above the memory of one row of a batch, without the weights.

    Forward, a value lives until its last use; a backward pass needs all of them.

    Args:
        start: the node of the input.
        row_shape: of the input.
        is_differentiated: whether there is a backward pass.
    """
    sizes = _sizes(start, row_shape)
    largest = max(sizes.values(), default=0)
    held = sum(sizes.values()) if is_differentiated else _largest_held(sizes)
    return held + _LAID_OUT_ANEW * largest


def _sizes(start: fx.Node, row_shape: tuple[int, ...]) -> Mapping[fx.Node, int]:
    """Bytes of what each node adds for one row; views and writes in place add nothing."""
    values = dict(zip(map(_symbol, start.meta["val"].shape), (1, *row_shape), strict=True))
    sizes = {}
    for node in nodes_on_path(start):
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and _has_own_storage(node):
            count = math.prod(_evaluate(size, values) for size in value.shape)
            sizes[node] = count * value.element_size()
    return sizes


def _has_own_storage(node: fx.Node) -> bool:
    return base_name(node) not in _VIEWS and not operator_name(node).endswith("_")


def _largest_held(sizes: Mapping[fx.Node, int]) -> int:
    if not sizes:
        return 0
    graph = next(iter(sizes)).graph
    last_use: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        for argument in node.all_input_nodes:
            last_use[argument] = node
    held = most = 0
    for node in graph.nodes:
        held += sizes.get(node, 0)
        most = max(most, held)
        held -= sum(sizes.get(each, 0) for each in node.all_input_nodes if last_use[each] is node)
    return most


def _symbol(size: Any) -> Any:
    return size.node.expr if isinstance(size, torch.SymInt) else None


def _evaluate(size: Any, values: Mapping[Any, int]) -> int:
    if isinstance(size, int):
        return size
    found = size.node.expr.subs({symbol: value for symbol, value in values.items() if symbol})
    return int(found)
