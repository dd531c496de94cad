"""Which nodes of a graph hold spatial maps, and how the network ends."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from eyespot.saliency.backend import Layer
from eyespot.saliency.errors import LayerError, UnavailableMethodError
from eyespot.saliency.layer_names import named_layer, nearest_names
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
_GLOBAL_POOLS = {"mean", "adaptive_avg_pool2d"}
_BETWEEN_POOL_AND_HEAD = REARRANGEMENTS - {"cat", "stack", "slice", "select", "index_select"}


def spatial_layers(start: fx.Node, output: fx.Node) -> tuple[Layer, ...]:
    """Every node between input and output that holds maps (B, C, H, W)."""
    return _layers(list(_spatial_nodes(start, output)))


def find_layer(start: fx.Node, output: fx.Node, name: str) -> str:
    """The layer of a name: of a node, or of a module, whose last spatial map it is then.

    Of the empty name it is the last spatial map before pooling.

    Raises:
        LayerError: there is none.
    """
    nodes = list(_spatial_nodes(start, output))
    if name:
        found = named_layer(name, _layers(nodes))
        if found is None:
            raise LayerError(_no_layer(name, nodes))
        return found
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


def _layers(nodes: Sequence[fx.Node]) -> tuple[Layer, ...]:
    modules = _modules(nodes)
    return tuple(
        Layer(node.name, known_sizes(node.meta["val"].shape[1:]), tuple(modules[node]))
        for node in nodes
    )


def _modules(nodes: Sequence[fx.Node]) -> Mapping[fx.Node, list[str]]:
    """The modules whose last map each node holds, the innermost first.

    Where all are in one, as those of a network that normalises its pixels first, they are also
    called without its name.
    """
    last = {module: node for node in nodes for module in _modules_around(node)}
    roots = {module.partition(".")[0] for module in last}
    inside = {module.partition(".")[2]: node for module, node in last.items() if len(roots) == 1}
    names: dict[fx.Node, list[str]] = {node: [] for node in nodes}
    for module in sorted(inside.keys() - last.keys() - {""}, key=_depth):
        names[inside[module]].append(module)
    for module in sorted(last, key=_depth):
        names[last[module]].append(module)
    return names


def _modules_around(node: fx.Node) -> list[str]:
    stack = node.meta.get("nn_module_stack") or {}
    return [module for module, _ in stack.values() if module]


def _depth(module: str) -> tuple[int, str]:
    """Sort the innermost first."""
    return -module.count("."), module


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


def _no_layer(name: str, nodes: Sequence[fx.Node]) -> str:
    wide = [node for node in nodes if not _is_point(node)]
    shown = ", ".join(node.name for node in wide[-_SHOWN_LAYERS:])  # the end means most
    return (
        f"there is no layer {name!r}; {nearest_names(name, _layers(wide))}"
        f"the last with spatial maps are: {shown or 'none'}"
    )
