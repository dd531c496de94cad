"""What a module takes, read off one sample of each input: types, names and dynamic sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from eyespot.exporter.capture import BATCH, Axes
from eyespot.exporter.errors import CaptureError
from eyespot.exporter.preprocessed import check_rule_fits
from eyespot.v1.manifest import DynamicAxis
from eyespot.v1.preprocessing import PreprocessingRule

IMAGE = "image"
INPUT = "input"


@dataclass(frozen=True)
class Samples:
    """What is known of everything that a captured module will take.

    Attributes:
        given: What the caller gave, as the module itself takes it.
        tensors: One row of what the captured module takes: pixels in place of a picture.
        names: Of the inputs.
        axes: Dynamic sizes of each input by number, beside the rows.
        symbols: How many there are, by the name of each input of whole numbers.
    """

    given: tuple[torch.Tensor, ...]
    tensors: tuple[torch.Tensor, ...]
    names: tuple[str, ...]
    axes: Axes
    symbols: Mapping[str, int]

    @property
    def dynamic_axes(self) -> tuple[DynamicAxis, ...]:
        """Every dynamic size once, in the order in which the inputs name them."""
        return tuple(dict.fromkeys(axis for named in self.axes for axis in named.values()))


def read_samples(
    sample_inputs: torch.Tensor | Sequence[torch.Tensor],
    *,
    names: Sequence[str] | None,
    dynamic_axes: Mapping[int, str] | Sequence[Mapping[int, str]],
    min_size: int,
    rule: PreprocessingRule | None,
) -> Samples:
    """Check the samples, and put pixels in the place of a picture where a rule makes it.

    Raises:
        CaptureError: They are no rows of FP32 or INT64, or names or axes do not fit them.
        PreprocessingFitError: The rule gives other pixels than the module takes.
    """
    given = _tensors(sample_inputs)
    names = tuple(names or ([IMAGE] if rule is not None else [INPUT]))
    if len(names) != len(given):
        raise CaptureError(f"{len(given)} inputs and the names {list(names)}: one each is expected")
    axes = _axes(given, dynamic_axes, min_size)
    symbols = {
        name: int(sample.max()) + 1
        for name, sample in zip(names, given, strict=True)
        if sample.dtype == torch.int64
    }
    if rule is None:
        zeros = tuple(torch.zeros_like(sample[:1]) for sample in given)
        return Samples(given, zeros, names, axes, symbols)
    pixels, axes = _pixels(given, axes, rule)
    return Samples(given, (pixels,), names, axes, symbols)


def _tensors(
    sample_inputs: torch.Tensor | Sequence[torch.Tensor],
) -> tuple[torch.Tensor, ...]:
    samples = sample_inputs if isinstance(sample_inputs, tuple | list) else (sample_inputs,)
    for sample in samples:
        if not isinstance(sample, torch.Tensor):
            raise CaptureError(
                f"sample_inputs is of type {type(sample).__name__}: a tensor is expected, "
                "such as torch.zeros(1, 3, 224, 224), or a tuple of them"
            )
        shape = list(sample.shape)
        is_known = sample.dtype in (torch.float32, torch.int64)
        if not is_known or len(shape) < 2 or shape[0] < 1:
            raise CaptureError(
                f"sample_inputs is {sample.dtype} of shape {shape}: float32 or int64 with at "
                "least one row is expected"
            )
    if not samples:
        raise CaptureError("sample_inputs is empty: one tensor for each input is expected")
    return tuple(samples)


def _axes(
    given: Sequence[torch.Tensor],
    dynamic_axes: Mapping[int, str] | Sequence[Mapping[int, str]],
    min_size: int,
) -> Axes:
    named = [dynamic_axes] if isinstance(dynamic_axes, Mapping) else list(dynamic_axes)
    if not any(named):
        return [{} for _ in given]
    if len(named) != len(given):
        raise CaptureError(f"dynamic_axes has {len(named)} mappings for {len(given)} inputs")
    axes = [
        {number: _axis(sample, number, name, min_size) for number, name in mapping.items()}
        for sample, mapping in zip(given, named, strict=True)
    ]
    found = {axis for mapping in axes for axis in mapping.values()}
    if len(found) != len({axis.name for axis in found}):
        raise CaptureError(
            f"the samples have several sizes of one name among {sorted(map(str, found))}"
        )
    return axes


def _axis(sample: torch.Tensor, number: int, name: str, min_size: int) -> DynamicAxis:
    if not 0 < number < sample.ndim:
        raise CaptureError(
            f"dynamic axis {number} ({name}) is not among 1..{sample.ndim - 1}: the rows, axis 0, "
            "are dynamic anyway"
        )
    if not name.isidentifier() or name == BATCH:
        raise CaptureError(f"a dynamic axis cannot be called {name!r}: a word is expected")
    size = sample.shape[number]
    if size < max(2, min_size):  # 1 would be taken for a constant
        raise CaptureError(
            f"the sample's {name} is {size}: at least {max(2, min_size)} is expected, the smallest "
            "size or more"
        )
    return DynamicAxis(name, min_size, size)


def _pixels(
    given: tuple[torch.Tensor, ...], axes: Axes, rule: PreprocessingRule
) -> tuple[torch.Tensor, Axes]:
    """Give pixels (1, H, W, C) for a picture (1, C, H, W), with the axes at their new places."""
    shape = list(given[0].shape)
    if len(given) != 1 or len(shape) != 4 or given[0].dtype != torch.float32:
        raise CaptureError(f"sample_inputs has shape {shape}: with preprocessing, (1, C, H, W)")
    channels, height, width = shape[1:]
    (named,) = axes
    if 1 in named:
        raise CaptureError("the channels of a picture cannot be dynamic")
    moved = {number - 1: axis for number, axis in named.items()}
    check_rule_fits(
        rule,
        channels=channels,
        height=None if 1 in moved else height,
        width=None if 2 in moved else width,
    )
    return torch.zeros(1, height, width, channels, dtype=torch.uint8), [moved]
