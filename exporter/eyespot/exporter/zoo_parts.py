"""What of a zoo network becomes a model: its parts, their samples, and which takes the picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from eyespot.exporter.face import OUTPUT_NAMES
from eyespot.exporter.parity import random_batches
from eyespot.exporter.samples import INPUT
from eyespot.v1.manifest import DynamicAxis, TensorSpec
from eyespot.zoo import InputFact, ModelEntry, Part

_TORCH_TYPES = {"FP32": torch.float32, "INT64": torch.int64}


@dataclass(frozen=True)
class PartToExport:
    """One model that a network becomes.

    Attributes:
        part: As the entry declares it, at the sizes that were asked for.
        takes_picture: It is the part to which a preprocessing rule belongs.
        usual: The size that stands for each name in its shapes.
        min_size: The smallest of them.
    """

    part: Part
    takes_picture: bool
    usual: Mapping[str, int]
    min_size: int

    @property
    def input_names(self) -> tuple[str, ...]:
        """On the wire, where no preprocessing makes one of them a picture."""
        return tuple(fact.name for fact in self.part.inputs)

    @property
    def samples(self) -> tuple[torch.Tensor, ...]:
        """One row of each input; of symbols, the largest."""
        return tuple(
            torch.full(
                (1, *self._sizes(fact)),
                0 if fact.upper is None else fact.upper - 1,
                dtype=_TORCH_TYPES[fact.datatype],
            )
            for fact in self.part.inputs
        )

    @property
    def dynamic_axes(self) -> list[dict[int, str]]:
        """Axes that may have any size, for each input."""
        return [
            {number: size for number, size in enumerate(fact.shape, 1) if isinstance(size, str)}
            for fact in self.part.inputs
        ]

    def random_inputs(self, *, rows: int, seed: int) -> list[torch.Tensor]:
        """Draw inputs as they are drawn for parity, before any preprocessing."""
        specs = [
            TensorSpec(fact.name, fact.datatype, ("batch", *fact.shape))
            for fact in self.part.inputs
        ]
        symbols = {fact.name: fact.upper for fact in self.part.inputs if fact.upper is not None}
        axes = [DynamicAxis(name, self.min_size, size) for name, size in self.usual.items()]
        batches = random_batches(
            specs, max_batch_size=rows, seed=seed, dynamic_axes=axes, symbols=symbols
        )
        most = max(batches, key=len)
        return [torch.from_numpy(values) for values in most.inputs]

    def select(self, network: nn.Module) -> nn.Module:
        """Give the module that computes this part."""
        return self.part.select(network)

    def _sizes(self, fact: InputFact) -> Iterator[int]:
        return (size if isinstance(size, int) else self.usual[size] for size in fact.shape)


def parts_of(
    entry: ModelEntry, input_size: Sequence[int], num_classes: int | None = None
) -> list[PartToExport]:
    """Tell what models a network becomes.

    Args:
        entry: Of the network.
        input_size: Of its input, in place of the entry's own.
        num_classes: The width of what it computes, where one part takes what another gives.
    """
    parts = entry.parts or (_whole(entry),)
    width = entry.num_classes if num_classes is None else num_classes
    return [_part(entry, part, tuple(input_size), width) for part in parts]


def _whole(entry: ModelEntry) -> Part:
    sizes = enumerate(entry.input_size, 1)
    shape = tuple(entry.dynamic_axes.get(number, size) for number, size in sizes)
    return Part("", (InputFact(INPUT, shape),), (OUTPUT_NAMES[entry.task],))


def _part(entry: ModelEntry, part: Part, input_size: tuple[int, ...], width: int) -> PartToExport:
    facts = tuple(
        dataclasses.replace(fact, shape=(width,))
        if fact.shape == (entry.num_classes,)
        else _resized(fact, entry.input_size, input_size)
        for fact in part.inputs
    )
    is_picture = len(facts) == 1 and len(facts[0].shape) == 3 and facts[0].datatype == "FP32"
    places = {"height": -2}
    names = {size for fact in facts for size in fact.shape if isinstance(size, str)}
    return PartToExport(
        dataclasses.replace(part, inputs=facts),
        takes_picture=is_picture,
        usual={name: input_size[places.get(name, -1)] for name in sorted(names)},
        min_size=entry.min_input_size,
    )


def _resized(fact: InputFact, own: tuple[int, ...], asked: tuple[int, ...]) -> InputFact:
    """Give an input the size, or the symbols, that were asked for, where it has the network's."""
    if fact.upper == own[0]:
        return dataclasses.replace(fact, upper=asked[0])
    if len(fact.shape) != len(own) or fact.datatype != "FP32":
        return fact
    if any(isinstance(a, int) and a != b for a, b in zip(fact.shape, own, strict=True)):
        return fact
    pairs = zip(fact.shape, asked, strict=True)
    shape = tuple(size if isinstance(size, str) else new for size, new in pairs)
    return dataclasses.replace(fact, shape=shape)
