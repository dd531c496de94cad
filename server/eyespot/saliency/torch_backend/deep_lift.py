"""DeepLIFT's rescale rule as the backward pass of activations and max pools.

Rows and baselines go through the network together, in one batch: the rows first. Behind
the rows' half of a batch the multipliers take the place of gradients.
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
    without_writes,
)
from eyespot.saliency.torch_backend.program import in_order, nodes_on_path, operator_name

# Linear in all of their inputs together.
_LINEAR = BLENDS | REARRANGEMENTS | SHIFTS
# Linear as long as only the first of their inputs depends on the network's.
_LINEAR_IN_FIRST = CONVOLUTIONS | DENSE | NORMS | SCALES
# Below this difference a quotient of differences is noise, and the derivative is its limit.
_SMALLEST = 1e-10


def check_rescale(start: fx.Node) -> None:
    """Make sure that every operator is linear or has a rule.

    Raises:
        UnavailableMethodError: one has none.
    """
    path = nodes_on_path(start)
    for node in in_order(path - {start}):
        if isinstance(node.meta.get("val"), torch.Tensor) and not _has_rule(node, path):
            raise UnavailableMethodError(
                f"deep_lift has no rule for {operator_name(node)} ({node.name}): ask for "
                "integrated_gradients, which needs none"
            )


def rescale(graph: fx.Graph, leaf: fx.Node) -> None:
    """Give activations and max pools the rule as their backward pass."""
    without_writes(graph)
    path = nodes_on_path(leaf)
    for node in list(graph.nodes):
        if node not in path:
            continue
        if is_activation(node):
            change_rule(node, _rescaled)
        elif base_name(node) in MAX_POOLS:
            change_rule(node, _rescaled_max_pool)


def _has_rule(node: fx.Node, path: set[fx.Node]) -> bool:
    name = base_name(node)
    if is_activation(node) or name in MAX_POOLS or name in _LINEAR:
        return True
    on_path = [each for each in node.all_input_nodes if each in path and _is_tensor(each)]
    if name == "div" and node.args[0] not in path:
        return False
    return name in _LINEAR_IN_FIRST and len(on_path) == 1


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def _rescaled(*arguments: Any) -> Any:
    return _Rescaled.apply(*arguments)  # type: ignore[no-untyped-call]


def _rescaled_max_pool(*arguments: Any) -> Any:
    return _RescaledMaxPool.apply(*arguments)  # type: ignore[no-untyped-call]


class _Rescaled(torch.autograd.Function):
    """An activation; its multiplier is the difference of its outputs over that of its inputs."""

    @staticmethod
    def forward(ctx: Any, function: Any, options: dict[str, Any], x: Tensor, *args: Any) -> Tensor:
        """Compute as ever."""
        value: Tensor = function(x, *args, **options)
        row, baseline = x.chunk(2)
        with torch.enable_grad():
            leaf = row.detach().requires_grad_()
            (slope,) = torch.autograd.grad(function(leaf, *args, **options).sum(), leaf)
        difference = row - baseline
        out, out_baseline = value.chunk(2)
        is_small = difference.abs() < _SMALLEST
        ctx.multiplier = torch.where(
            is_small, slope, (out - out_baseline) / difference.masked_fill(is_small, 1)
        )
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Multiply; the baselines' half gets nothing."""
        gradient = gradients[0].chunk(2)[0] * ctx.multiplier
        return (None, None, torch.cat([gradient, torch.zeros_like(gradient)]), *_nothing(ctx, 3))


class _RescaledMaxPool(torch.autograd.Function):
    """A max pool; its difference goes where the row has its maximum, and the baseline its own.

    With m the larger of the two outputs, the row's maximum has m - baseline's output of it,
    and the place where the baseline has its maximum has the row's output - m.
    """

    @staticmethod
    def forward(ctx: Any, function: Any, options: dict[str, Any], x: Tensor, *args: Any) -> Tensor:
        """Compute as ever."""
        value: Tensor
        value, places = torch.ops.aten.max_pool2d_with_indices(x, *args, **options)
        ctx.save_for_backward(x, value, places)
        del function  # it is the one above, without the places
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Share the differences out, and divide each by that of its input."""
        x, value, places = ctx.saved_tensors
        gradient = gradients[0].chunk(2)[0]
        out, out_baseline = value.chunk(2)
        at_row, at_baseline = places.flatten(2).chunk(2)  # (B, C, h w) each
        larger = torch.maximum(out, out_baseline)
        row, baseline = x.chunk(2)
        shares = torch.zeros_like(row).flatten(2)  # (B, C, H W)
        shares.scatter_add_(2, at_row, (gradient * (larger - out_baseline)).flatten(2))
        shares.scatter_add_(2, at_baseline, (gradient * (out - larger)).flatten(2))
        difference = row - baseline
        is_small = difference.abs() < _SMALLEST
        multiplied = shares.view_as(row) / difference.masked_fill(is_small, 1)
        multiplied.masked_fill_(is_small, 0)  # nothing differs there, so nothing is shared out
        return (None, None, torch.cat([multiplied, torch.zeros_like(row)]), *_nothing(ctx, 3))


def _nothing(ctx: Any, first: int) -> list[None]:
    return [None] * (len(ctx.needs_input_grad) - first)
