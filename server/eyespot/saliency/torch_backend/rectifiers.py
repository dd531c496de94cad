"""Rectifiers with another backward rule: guided backpropagation's and deconvnet's.

Every rectifier is a node of the captured graph, whether it was written as a module, reused,
in place, or a function; so none is missed. Where a rectifier is not the identity above zero
(ReLU6 above 6, SiLU), its own derivative applies there.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from eyespot.saliency.errors import UnavailableMethodError
from eyespot.saliency.torch_backend.operators import (
    change_rule,
    is_identity_above_zero,
    is_rectifier,
    is_zero_below_zero,
    without_writes,
)
from eyespot.saliency.torch_backend.program import nodes_on_path


def check_rectifiers(start: fx.Node) -> None:
    """Check that there is a rectifier behind a node.

    Raises:
        UnavailableMethodError: there is none whose rule could be another.
    """
    if not count_rectifiers(start):
        raise UnavailableMethodError(
            "the network has no rectifier (ReLU and its kin), whose rule this method changes: it "
            "would show what saliency shows"
        )


def count_rectifiers(start: fx.Node) -> int:
    """Count the rectifiers behind a node."""
    return sum(map(is_rectifier, nodes_on_path(start)))


def guide(graph: fx.Graph, leaf: fx.Node) -> None:
    """Let pass only positive gradients, through positive activations."""
    for node in list(graph.nodes):
        if not is_rectifier(node):
            continue
        # The rectifier's own derivative follows, and is most of the rule already.
        keep = _keep_positive if is_zero_below_zero(node) else _keep_positive_where_positive
        _insert_after(graph, node, keep)


def deconvolve(graph: fx.Graph, leaf: fx.Node) -> None:
    """Let pass only positive gradients, whatever the activation."""
    without_writes(graph)
    for node in list(graph.nodes):
        if is_rectifier(node):
            change_rule(node, _deconvolved, is_identity_above_zero(node))


def _insert_after(graph: fx.Graph, node: fx.Node, function: Any) -> None:
    users = set(node.users)
    with graph.inserting_after(node):
        inserted = graph.call_function(function, (node,))
    node.replace_all_uses_with(inserted, delete_user_cb=users.__contains__)


def _keep_positive(value: Tensor) -> Tensor:
    if value.requires_grad:
        _on_gradient(value, lambda gradient: gradient.clamp_min(0))
    return value


def _keep_positive_where_positive(value: Tensor) -> Tensor:
    if value.requires_grad:
        is_positive = value.detach() > 0
        _on_gradient(value, lambda gradient: gradient.clamp_min(0) * is_positive)
    return value


def _on_gradient(value: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    value.register_hook(change)  # type: ignore[no-untyped-call]


def _deconvolved(*arguments: Any) -> Any:
    return _Deconvolved.apply(*arguments)  # type: ignore[no-untyped-call]


class _Deconvolved(torch.autograd.Function):
    """A rectifier whose backward pass rectifies the gradient in place of the activation."""

    @staticmethod
    def forward(
        ctx: Any, function: Any, options: dict[str, Any], is_identity: bool, x: Tensor, *args: Any
    ) -> Tensor:
        """Rectify as ever."""
        if is_identity:
            ctx.slope = None
        else:
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                (slope,) = torch.autograd.grad(function(leaf, *args, **options).sum(), leaf)
            ctx.slope = torch.where(x > 0, slope, 1)
        value: Tensor = function(x, *args, **options)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Rectify the gradient."""
        kept = gradients[0].clamp_min(0)
        kept = kept if ctx.slope is None else kept * ctx.slope
        return (None, None, None, kept, *[None] * (len(ctx.needs_input_grad) - 4))
