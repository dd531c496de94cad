"""What each ATen operator does to receptive fields; one rule for each family of operators.

A tensor is described by its axes: a field for each that still runs along an axis of the input,
None for all others (rows, channels, what has been flattened or pooled away).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eyespot.exporter.receptive_field import Field
from eyespot.exporter.windows import window_of

Axes = tuple[Field | None, ...]

WHOLE = "depends on the whole input as well"


class NoRuleError(Exception):
    """The arithmetic does not know what an operator does; never leaves the tracker."""


@dataclass(frozen=True)
class Call:
    """One call of an ATen operator.

    Attributes:
        operator: Its name, without overload and without the underscore of in-place ones.
        arguments: By name, defaults included.
        outputs: The tensors that it gave.
        axes_of: Describes a tensor among the arguments.
        depends: Tells whether a tensor comes from the input at all.
        tell: Takes a note on what the numbers do not say.
    """

    operator: str
    arguments: Mapping[str, Any]
    outputs: tuple[Tensor, ...]
    axes_of: Callable[[Tensor], Axes]
    depends: Callable[[Tensor], bool]
    tell: Callable[[str], None]

    @property
    def first(self) -> Tensor:
        """The first tensor among the arguments."""
        return next(self.tensors())

    def tensors(self) -> Iterator[Tensor]:
        """Give the tensors among the arguments, in lists too."""
        for value in self.arguments.values():
            for each in value if isinstance(value, list | tuple) else (value,):
                if isinstance(each, Tensor):
                    yield each

    def dims(self, name: str = "dim", rank: int | None = None) -> list[int]:
        """Read a number of an axis, or several, counted from the front; None is all of them."""
        rank = self.first.ndim if rank is None else rank
        value = self.arguments[name]
        if value is None or value == []:
            return list(range(rank))
        return [dim % rank for dim in ([value] if isinstance(value, int) else value)]


Rule = Callable[[Call], Axes]

_rules: dict[str, Rule] = {}


def axes_after(call: Call, tags: Sequence[torch.Tag]) -> list[Axes]:
    """Describe what an operator gives.

    Raises:
        NoRuleError: It is not known what it does.
    """
    rule = _rules.get(call.operator) or (_joined if torch.Tag.pointwise in tags else None)
    if rule is None:
        raise NoRuleError(call.operator)
    axes = rule(call)
    # Beside the first there are indices of it, pieces like it, or statistics.
    return [axes if len(axes) == output.ndim else (None,) * output.ndim for output in call.outputs]


def _rule(*operators: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _rules.update(dict.fromkeys(operators, rule))
        return rule

    return register


@_rule("clone", "detach", "alias", "_to_copy", "lift_fresh", "native_dropout", "contiguous",
       "channel_shuffle", "native_channel_shuffle", "native_batch_norm",
       "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
       "_batch_norm_with_update", "_batch_norm_no_update")  # fmt: skip
def _same(call: Call) -> Axes:
    return call.axes_of(call.first)


@_rule("as_strided")
def _restrided(call: Call) -> Axes:
    """What a global pool gives is laid out as its input was; any other use is not known."""
    if call.outputs[0].shape != call.first.shape:
        raise NoRuleError(call.operator)
    return call.axes_of(call.first)


@_rule("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like",
       "new_zeros", "new_ones", "new_empty", "new_full")  # fmt: skip
def _shape_only(call: Call) -> Axes:
    return (None,) * call.outputs[0].ndim


@_rule("native_group_norm", "native_layer_norm")
def _normalised(call: Call) -> Axes:
    axes = call.axes_of(call.first)
    last = len(call.arguments.get("normalized_shape", axes[1:]))
    if any(axes[len(axes) - last :]):
        call.tell(WHOLE)
    return axes


@_rule("_softmax", "_log_softmax")
def _softmax(call: Call) -> Axes:
    axes = call.axes_of(call.first)
    if any(axes[dim] for dim in call.dims()):
        call.tell(WHOLE)
    return axes


@_rule("convolution", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d",
       "avg_pool3d")  # fmt: skip
def _windowed(call: Call) -> Axes:
    window = window_of(call.operator, call.arguments)
    assert window is not None
    axes = list(call.axes_of(call.first))
    first = len(axes) - len(window.kernel)
    for number in range(len(window.kernel)):
        field = axes[first + number]
        axes[first + number] = None if field is None else window.field(number, field)
    if call.operator == "convolution":
        axes[1] = None  # every output channel sees all of its group
    return tuple(axes)


@_rule("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d",
       "adaptive_max_pool3d", "pixel_unshuffle")  # fmt: skip
def _adaptive(call: Call) -> Axes:
    sizes = zip(call.axes_of(call.first), call.first.shape, call.outputs[0].shape, strict=True)
    return tuple(
        None if field is None or new == 1 != old else field.pooled_to(old, new)
        for field, old, new in sizes
    )


@_rule("mean", "sum", "amax", "amin", "max", "min", "argmax", "argmin", "var", "std", "prod",
       "logsumexp", "linalg_vector_norm", "norm", "any", "all", "var_mean")  # fmt: skip
def _reduced(call: Call) -> Axes:
    if "dim" not in call.arguments:
        return (None,) * call.outputs[0].ndim
    gone = call.dims()
    axes = call.axes_of(call.first)
    if call.arguments.get("keepdim"):
        return tuple(None if dim in gone else field for dim, field in enumerate(axes))
    return tuple(field for dim, field in enumerate(axes) if dim not in gone)


@_rule("mm", "bmm", "addmm", "baddbmm")
def _multiplied(call: Call) -> Axes:
    left, right = list(call.tensors())[-2:]
    a, b = call.axes_of(left), call.axes_of(right)
    if any(a) and any(b):
        raise NoRuleError(call.operator)
    if a[-1] or b[-2]:
        call.tell(WHOLE)
    return (*(x or y for x, y in zip(a[:-2], b[:-2], strict=True)), a[-2], b[-1])


@_rule("view", "_unsafe_view", "reshape", "_reshape_alias")
def _reshaped(call: Call) -> Axes:
    """Keep the axes that come through whole; the others are mixed, and no axes any more."""
    old, new = list(call.first.shape), list(call.outputs[0].shape)
    axes, result = list(call.axes_of(call.first)), list[Field | None]()
    while old or new:
        sizes, new_sizes = [old.pop(0)] if old else [1], [new.pop(0)] if new else []
        fields = [axes.pop(0) if axes else None]
        while _product(sizes) != _product(new_sizes):
            if _product(sizes) < _product(new_sizes):
                sizes.append(old.pop(0))
                fields.append(axes.pop(0))
            else:
                new_sizes.append(new.pop(0))
        whole = [field for size, field in zip(sizes, fields, strict=True) if size > 1]
        is_kept = len(whole) == 1 == sum(size > 1 for size in new_sizes)
        result += [
            whole[0] if is_kept and size > 1 else fields[0] if sizes == [size] else None
            for size in new_sizes
        ]
    return tuple(result)


@_rule("expand")
def _expanded(call: Call) -> Axes:
    new = call.outputs[0].shape
    axes = (None,) * (len(new) - call.first.ndim) + call.axes_of(call.first)
    old = (1,) * (len(new) - call.first.ndim) + tuple(call.first.shape)
    return tuple(axes[dim] if old[dim] == new[dim] else None for dim in range(len(new)))


@_rule("permute")
def _permuted(call: Call) -> Axes:
    axes = call.axes_of(call.first)
    return tuple(axes[dim] for dim in call.dims("dims"))


@_rule("transpose", "t")
def _transposed(call: Call) -> Axes:
    axes = list(call.axes_of(call.first))
    if call.operator == "t":
        return tuple(reversed(axes))
    a, b = call.dims("dim0") + call.dims("dim1")
    axes[a], axes[b] = axes[b], axes[a]
    return tuple(axes)


@_rule("unsqueeze", "stack")
def _unsqueezed(call: Call) -> Axes:
    axes = list(_joined(call) if call.operator == "stack" else call.axes_of(call.first))
    axes.insert(call.dims(rank=len(axes) + 1)[0], None)
    return tuple(axes)


@_rule("squeeze")
def _squeezed(call: Call) -> Axes:
    asked = call.dims() if "dim" in call.arguments else range(call.first.ndim)
    gone = {dim for dim in asked if call.first.shape[dim] == 1}
    return tuple(x for dim, x in enumerate(call.axes_of(call.first)) if dim not in gone)


@_rule("select")
def _selected(call: Call) -> Axes:
    axes = list(call.axes_of(call.first))
    axes.pop(call.dims()[0])
    return tuple(axes)


@_rule("slice")
def _sliced(call: Call) -> Axes:
    axes, [dim] = list(call.axes_of(call.first)), call.dims()
    size = call.first.shape[dim]
    start = call.arguments["start"] or 0
    start = max(start + size, 0) if start < 0 else min(start, size)
    field = axes[dim]
    axes[dim] = None if field is None else field.sliced(start, call.arguments["step"])
    return tuple(axes)


@_rule("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "unbind")
def _split(call: Call) -> Axes:
    axes, [dim] = list(call.axes_of(call.first)), call.dims()
    if axes[dim] is not None:
        raise NoRuleError(call.operator)
    return _selected(call) if call.operator == "unbind" else tuple(axes)


@_rule("cat")
def _concatenated(call: Call) -> Axes:
    tensors, [dim] = list(call.tensors()), call.dims()
    moving = [tensor for tensor in tensors if call.axes_of(tensor)[dim] is not None]
    if not moving:
        return _joined(call)
    if len(moving) > 1 or any(call.depends(each) for each in tensors if each is not moving[0]):
        raise NoRuleError(call.operator)
    before = sum(each.shape[dim] for each in tensors[: tensors.index(moving[0])])
    axes = list(call.axes_of(moving[0]))
    field = axes[dim]
    axes[dim] = None if field is None else field.sliced(-before)
    return tuple(axes)


@_rule("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d",
       "replication_pad2d")  # fmt: skip
def _padded(call: Call) -> Axes:
    axes = list(call.axes_of(call.first))
    padding = call.arguments["pad" if call.operator == "constant_pad_nd" else "padding"]
    for number, before in enumerate(padding[::2]):
        field = axes[-1 - number]
        axes[-1 - number] = None if field is None else field.sliced(-before)
    return tuple(axes)


@_rule("upsample_nearest1d", "upsample_nearest2d", "upsample_linear1d", "upsample_bilinear2d",
       "upsample_bicubic2d", "_upsample_nearest_exact2d", "pixel_shuffle")  # fmt: skip
def _resized(call: Call) -> Axes:
    neighbours = 2 if "linear" in call.operator else 4 if "cubic" in call.operator else 1
    align_corners = bool(call.arguments.get("align_corners"))
    sizes = zip(call.axes_of(call.first), call.first.shape, call.outputs[0].shape, strict=True)
    return tuple(
        field
        if field is None or old == new
        else field.resized(old, new, neighbours=neighbours, align_corners=align_corners)
        for field, old, new in sizes
    )


@_rule("embedding")
def _embedded(call: Call) -> Axes:
    return (*call.axes_of(call.arguments["indices"]), None)


@_rule("index_select")
def _index_selected(call: Call) -> Axes:
    """Take positions that are picked for neighbours: their numbers are not looked at."""
    axes, [dim] = call.axes_of(call.first), call.dims()
    if axes[dim] is not None:
        call.tell("picks positions by their numbers: offsets behind it are not known")
    return axes


def _joined(call: Call) -> Axes:
    """Where paths meet, the largest field counts, as in the article."""
    tensors = [tensor for tensor in call.tensors() if call.depends(tensor)]
    rank = max((tensor.ndim for tensor in call.tensors()), default=0)
    joined: list[Field | None] = [None] * rank
    for dim in range(1, rank + 1):
        there = [tensor for tensor in tensors if tensor.ndim >= dim]
        size = max((tensor.shape[-dim] for tensor in there), default=1)
        fields = [call.axes_of(each)[-dim] for each in there if each.shape[-dim] == size]
        joined[-dim] = _largest([field for field in fields if field is not None], call.tell)
    if any(joined) and not all(any(call.axes_of(tensor)) for tensor in tensors):
        call.tell(WHOLE)
    return tuple(joined)


def _largest(fields: list[Field], tell: Callable[[str], None]) -> Field | None:
    if not fields:
        return None
    largest = max(fields, key=lambda field: field.size)
    if any(field.axis != largest.axis or field.stride != largest.stride for field in fields):
        tell("joins paths of different strides")
    elif any(field.centre != largest.centre for field in fields):
        tell("joins paths whose fields have different centres")
    return largest


def _product(sizes: Sequence[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
