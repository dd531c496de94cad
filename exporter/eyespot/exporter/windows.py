"""A window that slides over a map: a convolution, a transposed one, or pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eyespot.exporter.receptive_field import Field

_POOLING = {
    "max_pool2d_with_indices": "max pooling",
    "max_pool3d_with_indices": "max pooling",
    "avg_pool2d": "average pooling",
    "avg_pool3d": "average pooling",
}


@dataclass(frozen=True)
class Window:
    """One number for each axis that the window slides along.

    Attributes:
        kind: In words.
        kernel: Weights or units under the window.
        stride: Units from one position to the next; of a transposed one, in its output.
        padding: Units added at both ends; of a transposed one, taken off its output.
        dilation: Units from one weight to the next.
        output_padding: Units that a transposed one adds at the end.
        groups: Into which the channels are divided.
        ceil_mode: A last window that is not full counts too.
    """

    kind: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int = 1
    ceil_mode: bool = False

    @property
    def is_transposed(self) -> bool:
        """It puts kernels down where others look through them."""
        return self.kind == "transposed convolution"

    def field(self, axis: int, field: Field) -> Field:
        """What is seen through it, along the n-th axis that it slides along."""
        see = field.spread if self.is_transposed else field.windowed
        return see(
            self.kernel[axis],
            stride=self.stride[axis],
            padding=self.padding[axis],
            dilation=self.dilation[axis],
        )

    def output_size(self, axis: int, size: int) -> int:
        """Units along an axis, by the formula that `formula` writes."""
        k, s, p, d = self._numbers(axis)
        if self.is_transposed:
            return (size - 1) * s - 2 * p + d * (k - 1) + self.output_padding[axis] + 1
        span = size + 2 * p - d * (k - 1) - 1
        if not self.ceil_mode:
            return span // s + 1
        count = -(-span // s) + 1
        return count - 1 if (count - 1) * s >= size + p else count

    def formula(self, sizes: Sequence[int]) -> str:
        """Write how each size of the output follows from that of the input."""
        each = [self._axis_formula(axis, size) for axis, size in enumerate(sizes)]
        return each[0] if len(set(each)) == 1 else "; ".join(each)

    def padding_text(self) -> str:
        """Name the padding: valid, same, full, or its number."""
        return _joined([self._padding_name(axis) for axis in range(len(self.kernel))])

    def text(self) -> str:
        """Write what is not as usual: "convolution 3x3, stride 2, padding same (1)"."""
        parts = [f"{self.kind} {'x'.join(map(str, self.kernel))}"]
        if set(self.stride) != {1}:
            parts.append(f"stride {_joined(self.stride)}")
        if set(self.kernel) != {1} or any(self.padding):
            parts.append(f"padding {self.padding_text()}")
        if set(self.dilation) != {1}:
            parts.append(f"dilation {_joined(self.dilation)}")
        if self.groups > 1:
            parts.append(f"{self.groups} groups")
        return ", ".join(parts)

    def _padding_name(self, axis: int) -> str:
        k, _, p, d = self._numbers(axis)
        if p == 0:
            return "valid"
        names = {d * (k - 1): f"same ({p})", 2 * d * (k - 1): f"full ({p})"}
        return names.get(2 * p, str(p))

    def _axis_formula(self, axis: int, size: int) -> str:
        k, s, p, d = self._numbers(axis)
        given = self.output_size(axis, size)
        if self.is_transposed:
            more = f" + {extra}" if (extra := self.output_padding[axis]) else ""
            return f"({size} - 1)*{s} - 2*{p} + {d}*({k} - 1){more} + 1 = {given}"
        quotient = f"({size} + 2*{p} - {d}*({k} - 1) - 1)/{s}"
        span = size + 2 * p - d * (k - 1) - 1
        if span % s:
            quotient = f"{'ceil' if self.ceil_mode else 'floor'}({quotient})"
        clipped = " - 1" if self.ceil_mode and -(-span // s) + 1 > given else ""
        return f"{quotient} + 1{clipped} = {given}"

    def _numbers(self, axis: int) -> tuple[int, int, int, int]:
        return self.kernel[axis], self.stride[axis], self.padding[axis], self.dilation[axis]


def window_of(operator: str, arguments: Mapping[str, Any]) -> Window | None:
    """Read the window of an ATen operator from its arguments by name; None if it has none."""
    if operator == "convolution":
        return _convolution(arguments)
    if operator in _POOLING:
        return _pooling(operator, arguments)
    return None


def _convolution(arguments: Mapping[str, Any]) -> Window:
    weight, groups = arguments["weight"], arguments["groups"]
    kernel = tuple(weight.shape[2:])
    kind = "transposed convolution" if arguments["transposed"] else "convolution"
    if not arguments["transposed"] and groups > 1 and weight.shape[1] == 1:
        kind, groups = "depthwise convolution", 1
    return Window(
        kind=kind,
        kernel=kernel,
        stride=_for_each(arguments["stride"], kernel),
        padding=_for_each(arguments["padding"], kernel),
        dilation=_for_each(arguments["dilation"], kernel),
        output_padding=_for_each(arguments["output_padding"], kernel),
        groups=groups,
    )


def _pooling(operator: str, arguments: Mapping[str, Any]) -> Window:
    axes = range(3 if "3d" in operator else 2)
    kernel = _for_each(arguments["kernel_size"], axes)
    return Window(
        kind=_POOLING[operator],
        kernel=kernel,
        stride=_for_each(arguments["stride"] or kernel, axes),
        padding=_for_each(arguments["padding"], axes),
        dilation=_for_each(arguments.get("dilation", 1), axes),
        output_padding=_for_each(0, axes),
        ceil_mode=arguments["ceil_mode"],
    )


def _for_each(value: int | Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """Repeat a single number for each axis, as PyTorch does."""
    numbers = [value] if isinstance(value, int) else list(value)
    return tuple(numbers * len(axes) if len(numbers) == 1 else numbers)


def _joined(values: Sequence[object]) -> str:
    texts = list(map(str, values))
    return texts[0] if len(set(texts)) == 1 else "x".join(texts)
