"""Which nodes of a graph hold spatial maps, and how the network ends."""

import difflib
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from eyespot.saliency.backend import Layer
from eyespot.saliency.errors import LayerError, UnavailableMethodError
from eyespot.saliency.torch_backend.operators import (
    BLENDS,
    MAX_POOLS,
    REARRANGEMENTS,
    base_name,
    is_rectifier,
)
from eyespot.saliency.torch_backend.program import known_sizes, nodes_on_path, operator_name

_NOT_A_MAP_OF_ITS_OWN = MAX_POOLS | BLENDS | (REARRANGEMENTS - {"cat"})
_SHOWN_LAYERS = 12
_LONGEST_COMPARED = 255  # comparing texts takes time by their length
_GLOBAL_POOLS = {"mean", "adaptive_avg_pool2d"}
_BETWEEN_POOL_AND_HEAD = REARRANGEMENTS - {"cat", "stack", "slice", "select", "index_select"}


def spatial_layers(start: fx.Node, output: fx.Node) -> tuple[Layer, ...]:
    """Every node between input and output that holds maps (B, C, H, W)."""
    return tuple(
        Layer(node.name, known_sizes(node.meta["val"].shape[1:]))
        for node in _spatial_nodes(start, output)
    )


def find_layer(start: fx.Node, output: fx.Node, name: str) -> str:
    """The layer of a name; of the empty name, the last spatial map before pooling.

    Raises:
        LayerError: there is none.
    """
    nodes = list(_spatial_nodes(start, output))
    names = [node.name for node in nodes]
    if name:
        if name not in names:
            raise LayerError(_no_layer(name, [node.name for node in nodes if not _is_point(node)]))
        return name
    own = [node for node in nodes if base_name(node) not in _NOT_A_MAP_OF_ITS_OWN]
    if output.meta["val"].ndim == 4:  # its own end is maps too, of classes and not of features
        own = [node for node in own if is_rectifier(node)] or own
    wide = [node for node in own if not _is_point(node)]
    for candidates in (wide, own, nodes):
        if candidates:
            return str(candidates[-1].name)
    raise LayerError("the network has no spatial map: no layer holds maps (batch, channels, h, w)")


def find_head(start: fx.Node, output: fx.Node) -> tuple[fx.Node, fx.Node]:
    """What is pooled globally, and the weights (K, C) of the one linear layer behind.

    Raises:
        UnavailableMethodError: the network does not end so.
    """
    if base_name(output) != "linear":
        raise _no_head(f"the network ends in {operator_name(output)}")
    path = nodes_on_path(start)
    if output.args[1] in path:
        raise _no_head(f"the weights of {output.name} depend on the input")
    node = _first_input(output)
    while base_name(node) in _BETWEEN_POOL_AND_HEAD and len(_inputs_on(path, node)) == 1:
        node = _first_input(node)
    pooled = _first_input(node) if node.args and base_name(node) in _GLOBAL_POOLS else None
    if pooled is None or pooled.meta["val"].ndim != 4 or not _is_single_place(node):
        raise _no_head(f"{operator_name(node)} ({node.name}) feeds it")
    weights = output.args[1]
    assert isinstance(weights, fx.Node)
    return pooled, weights


def _spatial_nodes(start: fx.Node, output: fx.Node) -> Iterator[fx.Node]:
    path = nodes_on_path(start) - {start, output}
    node = start
    while (node := node.next).op != "root":
        value = node.meta.get("val")
        if node not in path or not isinstance(value, torch.Tensor):
            continue
        if value.ndim == 4 and value.is_floating_point():
            yield node


def _is_point(node: fx.Node) -> bool:
    """Tell a map of one place, which shows nothing."""
    return list(node.meta["val"].shape[2:]) == [1, 1]


def _first_input(node: fx.Node) -> fx.Node:
    return node.all_input_nodes[0]


def _inputs_on(path: set[fx.Node], node: fx.Node) -> list[fx.Node]:
    return [each for each in node.all_input_nodes if each in path]


def _is_single_place(pool: fx.Node) -> bool:
    if base_name(pool) == "mean":
        axes: Any = pool.args[1]
        return sorted(axis % 4 for axis in axes) == [2, 3]
    return _is_point(pool)


def _no_head(reason: str) -> UnavailableMethodError:
    return UnavailableMethodError(
        f"CAM needs a global average pool that feeds one linear layer, but {reason}: "
        "ask for grad_cam, which needs neither"
    )


def _no_layer(name: str, names: list[str]) -> str:
    nearest = difflib.get_close_matches(name[:_LONGEST_COMPARED], names, n=1, cutoff=0.5)
    question = f"did you mean {nearest[0]!r}? " if nearest else ""
    shown = ", ".join(names[-_SHOWN_LAYERS:])  # towards the end maps mean most
    return (
        f"there is no layer {name!r}; {question}the last with spatial maps are: {shown or 'none'}"
    )
