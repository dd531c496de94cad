"""Receptive fields, followed through a network as it runs on tensors without memory.

PyTorch decomposes whatever a module calls into a few hundred ATen operators, and shows each to a
dispatch mode. So one set of rules serves any module, whether its own code runs or the graph that
was captured from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from eyespot.exporter.field_rules import Axes, Call, NoRuleError, axes_after
from eyespot.exporter.receptive_field import Field
from eyespot.exporter.windows import Window, window_of


class _HasStride(Protocol):
    @property
    def stride(self) -> Fraction | float: ...


class FieldTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Describes every tensor that comes from the inputs, while it is entered.

    Args:
        tell: Takes a note on the operator that runs.

    Attributes:
        window: Of the last operator that had one, and the sizes that it slid over.
    """

    window: tuple[Window, tuple[int, ...]] | None = None

    def __init__(self, tell: Callable[[str], None] = lambda _: None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tell = tell
        # Tensors are kept, so that no other can get the number of one that is gone.
        self._known: dict[int, tuple[Tensor, Axes, str | None]] = {}
        self._last: tuple[Field, ...] = ()

    def begin(self, tensor: Tensor) -> None:
        """Take a tensor as an input: each of its pixels sees itself."""
        axes = [
            Field(axis) if axis in spatial_axes(tensor) else None for axis in range(tensor.ndim)
        ]
        self._known[id(tensor)] = (tensor, tuple(axes), None)

    def axes_of(self, tensor: Tensor) -> Axes:
        """Describe a tensor; one that does not come from the inputs has no fields."""
        known = self._known.get(id(tensor))
        return (None,) * tensor.ndim if known is None else known[1]

    def depends(self, tensor: Tensor) -> bool:
        """Tell whether a tensor comes from the inputs."""
        return id(tensor) in self._known

    def lost_at(self, tensor: Tensor) -> str | None:
        """Name the operator without a rule that a tensor comes through, if it does."""
        known = self._known.get(id(tensor))
        return None if known is None else known[2]

    @property
    def last_spatial(self) -> tuple[Field, ...]:
        """The fields of the last map so far, by `is_later_map`."""
        return self._last

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator, and describe what it gives."""
        operator = func.overloadpacket.__name__.rstrip("_")
        arguments = _named(func, args, kwargs or {})
        if operator == "native_batch_norm" and arguments["input"].is_meta:
            given = _normalised_on_meta(arguments["input"])
        else:
            given = func(*args, **(kwargs or {}))
        outputs = tuple(each for each in _flat(given) if isinstance(each, Tensor))
        call = Call(operator, arguments, outputs, self.axes_of, self.depends, self._tell)
        if outputs and any(map(self.depends, call.tensors())):
            self._describe(call, func.tags)
        return given

    def _describe(self, call: Call, tags: Sequence[torch.Tag]) -> None:
        lost = next((lost for each in call.tensors() if (lost := self.lost_at(each))), None)
        try:
            described = axes_after(call, tags)
        except NoRuleError:
            lost = lost or call.operator
        if lost is not None:
            described = [(None,) * output.ndim for output in call.outputs]
        window = window_of(call.operator, call.arguments)
        if window is not None:
            self.window = window, tuple(call.first.shape[-len(window.kernel) :])
        for output, axes in zip(call.outputs, described, strict=True):
            self._known[id(output)] = (output, axes, lost)
            if is_map(output, axes):
                fields = tuple(field for field in axes if field is not None)
                if is_later_map(fields, self._last):
                    self._last = fields


def spatial_axes(tensor: Tensor) -> range:
    """Say along which axes an input has positions.

    (B, C, ...) has them behind the channels, pixels (B, H, W, C) before them, symbols (B, T)
    behind the rows.
    """
    if tensor.is_floating_point():
        return range(2, tensor.ndim)
    return range(1, tensor.ndim - 1 if tensor.ndim == 4 else tensor.ndim)


def is_map(tensor: Tensor, axes: Axes) -> bool:
    """Tell whether a tensor has more than one position."""
    return any(field and size > 1 for field, size in zip(axes, tensor.shape, strict=True))


def is_later_map(fields: Sequence[_HasStride], others: Sequence[_HasStride]) -> bool:
    """Tell whether a map may follow another as the last one: what upsamples begins the output."""
    return not others or max(map(_stride, fields)) >= max(map(_stride, others))


def _stride(field: _HasStride) -> Fraction | float:
    return field.stride


def last_field(module: nn.Module, *inputs: Tensor) -> tuple[Field, ...]:
    """Find the fields of a module's last spatial map, by running it once.

    Args:
        module: In evaluation mode; the meta device is enough, and fastest.
        inputs: One row of each, on the same device.

    Returns:
        One field for each axis of the map; none if it has no map, or the arithmetic does not
        know an operator on the way to it.
    """
    tracker = FieldTracker()
    for tensor in inputs:
        tracker.begin(tensor)
    with torch.no_grad(), tracker:
        module(*inputs)
    return tracker.last_spatial


def _normalised_on_meta(tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Say what batch normalisation gives, which PyTorch would take two thirds of its time for."""
    return torch.empty_like(tensor), tensor.new_empty(0), tensor.new_empty(0)


def _named(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    named = {}
    for position, argument in enumerate(func._schema.arguments):
        if position < len(args):
            named[argument.name] = args[position]
        else:
            named[argument.name] = kwargs.get(argument.name, argument.default_value)
    return named


def _flat(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)
