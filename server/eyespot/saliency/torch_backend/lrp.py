"""Rules of layer-wise relevance propagation as the backward pass of operators.

What runs backwards through the graph is not a gradient but the relevance itself. Batch
norms behind convolutions are first folded into these, so that a network with them and the
folded one are explained alike.
"""

from typing import Any

import torch
from torch import Tensor, fx

from eyespot.saliency.errors import UnavailableMethodError
from eyespot.saliency.torch_backend.operators import (
    BLENDS,
    CONVOLUTIONS,
    DENSE,
    MAX_POOLS,
    NORMS,
    REARRANGEMENTS,
    SCALES,
    SHIFTS,
    base_name,
    change_rule,
    is_activation,
    is_rectifier,
    without_writes,
)
from eyespot.saliency.torch_backend.program import in_order, nodes_on_path, operator_name

_WEIGHTED = CONVOLUTIONS | DENSE | NORMS
_FOLDABLE = {"conv1d", "conv2d", "conv3d"}


def check_relevance(start: fx.Node) -> None:
    """Make sure that every operator has a rule.

    Raises:
        UnavailableMethodError: one has none.
    """
    path = nodes_on_path(start)
    for node in in_order(path - {start}):
        if isinstance(node.meta.get("val"), torch.Tensor) and _rule(node, path) is None:
            raise UnavailableMethodError(
                f"lrp has no rule for {operator_name(node)} ({node.name}): ask for "
                "integrated_gradients, which needs none"
            )


def propagate_relevance(graph: fx.Graph, leaf: fx.Node, *, epsilon: float, gamma: float) -> None:
    """Give every operator its rule as the backward pass.

    Args:
        graph: is changed.
        leaf: with respect to what.
        epsilon: what is added to the magnitude of what is divided by, as a share of the
            root mean square of it in the row.
        gamma: how much more positive weights count, in convolutions of what is not negative.
    """
    without_writes(graph)
    _fold_batch_norms(graph)
    path = nodes_on_path(leaf)
    rules = {node: _rule(node, path) for node in path - {leaf}}
    is_positive = _not_negative(path)
    for node, rule in rules.items():
        if node.op != "call_function" or rule in (None, "gradient"):
            continue
        if rule == "pass":
            position = next(i for i, each in enumerate(node.args) if each in path)
            change_rule(node, _passed, position)
        elif rule == "share":
            change_rule(node, _shared, epsilon)
        else:
            is_convolved = base_name(node) in CONVOLUTIONS and is_positive(node.args[0])
            own_gamma = gamma if is_convolved else 0.0
            change_rule(node, _weighted, epsilon, own_gamma)


def _rule(node: fx.Node, path: set[fx.Node]) -> str | None:
    name = base_name(node)
    given = [each for each in node.all_input_nodes if each in path and _is_tensor(each)]
    if name in REARRANGEMENTS or name in MAX_POOLS:
        return "gradient"  # moves relevance; a max pool moves it to the winner
    if name in SHIFTS | SCALES and len(given) == 1:
        return None if name == "div" and node.args[0] not in path else "pass"
    if name in SHIFTS:
        return "share"
    if is_activation(node):
        return "pass"
    if name in BLENDS or (name in _WEIGHTED and given == [node.args[0]]):
        return "weighted"
    return None


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def _not_negative(path: set[fx.Node]) -> Any:
    """Tells of a node whether a rectifier and what keeps signs lie before it."""
    keeps = MAX_POOLS | BLENDS | REARRANGEMENTS | {"add"}
    # Rules replace targets one by one, so names are noted before.
    names = {node: (base_name(node), is_rectifier(node)) for node in path}

    def tell(node: Any) -> bool:
        if node not in names or node.op != "call_function":
            return False
        name, rectifies = names[node]
        if rectifies:
            return name in ("relu", "relu6", "hardtanh", "clamp", "clamp_min", "threshold")
        sources = [each for each in node.all_input_nodes if each in names]
        return name in keeps and bool(sources) and all(map(tell, sources))

    return tell


def _fold_batch_norms(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        if base_name(node) != "batch_norm" or not isinstance(node.args[0], fx.Node):
            continue
        before = node.args[0]
        if base_name(before) not in _FOLDABLE or len(before.users) != 1:
            continue
        _, scale, shift, mean, variance, _, _, eps, *_ = node.args
        bias = before.args[2] if len(before.args) > 2 else None
        with graph.inserting_before(before):
            folded = graph.call_function(
                _folded, (before.args[1], bias, scale, shift, mean, variance, eps)
            )
            weight = graph.call_function(_first, (folded,))
            offset = graph.call_function(_second, (folded,))
        before.args = (before.args[0], weight, offset, *before.args[3:])
        node.replace_all_uses_with(before)
        graph.erase_node(node)


def _folded(
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The weights and the bias of a convolution and the batch norm behind it."""
    factor = torch.rsqrt(variance + eps)
    factor = factor if scale is None else factor * scale
    offset = -mean * factor if bias is None else (bias - mean) * factor
    offset = offset if shift is None else offset + shift
    return weight * factor.view(-1, *[1] * (weight.ndim - 1)), offset


def _first(pair: tuple[Tensor, Tensor]) -> Tensor:
    return pair[0]


def _second(pair: tuple[Tensor, Tensor]) -> Tensor:
    return pair[1]


def _away_from_zero(z: Tensor, epsilon: float) -> Tensor:
    """Add a share of the row's own scale to the magnitude; zero still becomes something."""
    scale = z.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (z.ndim - 1))  # (B, 1, ...)
    added = (epsilon * scale).clamp_min(torch.finfo(z.dtype).tiny)
    return z + torch.where(z >= 0, added, -added)


def _weighted(*arguments: Any) -> Any:
    return _Weighted.apply(*arguments)  # type: ignore[no-untyped-call]


def _passed(*arguments: Any) -> Any:
    return _Passed.apply(*arguments)  # type: ignore[no-untyped-call]


def _shared(*arguments: Any) -> Any:
    return _Shared.apply(*arguments)  # type: ignore[no-untyped-call]


class _Weighted(torch.autograd.Function):
    """R_i = a_i sum_j w_ij R_j / (z_j + epsilon), with w + gamma max(w, 0) in place of w."""

    @staticmethod
    def forward(
        ctx: Any,
        function: Any,
        options: dict[str, Any],
        epsilon: float,
        gamma: float,
        x: Tensor,
        *args: Any,
    ) -> Tensor:
        """Compute as ever."""
        ctx.function, ctx.options, ctx.args = function, options, args
        ctx.epsilon, ctx.gamma = epsilon, gamma
        ctx.save_for_backward(x)
        value: Tensor = function(x, *args, **options)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Share the relevance out by what each input contributed."""
        (x,) = ctx.saved_tensors
        args = [_favour_positive(each, ctx.gamma) for each in ctx.args[:2]] + list(ctx.args[2:])
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            z = ctx.function(leaf, *args, **ctx.options)
            quotient = gradients[0] / _away_from_zero(z.detach(), ctx.epsilon)
            (contribution,) = torch.autograd.grad(z, leaf, quotient)
        relevance = x * contribution
        return (None, None, None, None, relevance, *[None] * len(ctx.args))


def _favour_positive(value: Any, gamma: float) -> Any:
    if gamma and isinstance(value, Tensor):
        return value + gamma * value.clamp_min(0)
    return value


class _Passed(torch.autograd.Function):
    """An operator of one input, element by element: its relevance is that of its output."""

    @staticmethod
    def forward(
        ctx: Any, function: Any, options: dict[str, Any], position: int, *args: Any
    ) -> Tensor:
        """Compute as ever."""
        ctx.position, ctx.count = position, len(args)
        value: Tensor = function(*args, **options)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Pass it on."""
        given: list[Tensor | None] = [None] * ctx.count
        given[ctx.position] = gradients[0]
        return (None, None, None, *given)


class _Shared(torch.autograd.Function):
    """A sum or difference of two inputs, which share the relevance by what they brought."""

    @staticmethod
    def forward(
        ctx: Any,
        function: Any,
        options: dict[str, Any],
        epsilon: float,
        first: Tensor,
        second: Tensor,
        *args: Any,
    ) -> Tensor:
        """Compute as ever."""
        ctx.function, ctx.options, ctx.args, ctx.epsilon = function, options, args, epsilon
        ctx.save_for_backward(first, second)
        value: Tensor = function(first, second, *args, **options)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Share it out."""
        with torch.enable_grad():
            leaves = [each.detach().requires_grad_() for each in ctx.saved_tensors]
            z = ctx.function(*leaves, *ctx.args, **ctx.options)
            quotient = gradients[0] / _away_from_zero(z.detach(), ctx.epsilon)
            shares = torch.autograd.grad(z, leaves, quotient)
        given = [leaf.detach() * share for leaf, share in zip(leaves, shares, strict=True)]
        return (None, None, None, *given, *[None] * len(ctx.args))
