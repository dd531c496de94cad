"""The blocks of a network, in the order of execution: what fine-tuning unfreezes one by one.

Blocks are the children of a network without its head, in the order in which a picture meets
them. A container that holds the head is opened, and so is the largest sequence while fewer than
four parts hold a convolution: VGG's `features` would else be one block. What holds no
convolution, such as the batch norm of a stem or the hidden layers of VGG's classifier, belongs
to the block before it. What no picture meets, such as an auxiliary classifier, is in no block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from eyespot.exporter.capture import held_in_eval
from eyespot.transfer.errors import SettingsError

Unfreeze: TypeAlias = int | str
"""How many of the last blocks: a number, "none", "last-block" or "all"."""

_FEWEST = 4
_KERNEL_DIMENSIONS = 3  # of the weights of the narrowest convolution, (out, in, T)


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        name: For the user: its first part, and its last where there are several.
        parts: Names of the modules in it, and of parameters that belong to no module in it.
        parameters: Numbers in its parameters.
    """

    name: str
    parts: tuple[str, ...]
    parameters: int

    def holds(self, tensor: str) -> bool:
        """Tell whether a parameter or buffer, by its name in the network, is in this block."""
        return any(tensor == part or tensor.startswith(f"{part}.") for part in self.parts)


def find_blocks(network: nn.Module, sample: Tensor, *, head: str) -> tuple[Block, ...]:
    """Find the blocks of a network, the first that a picture meets first.

    Args:
        network: Any module; it is left as it was found.
        sample: One row or more of what it takes; the values do not matter.
        head: Name of the module that is no part of any block.
    """
    met = _order_of_execution(network, sample)
    parts = _sorted(_children(network, "", head), met)
    while outer := next((part for part in parts if _is_inside(head, part)), None):
        parts = _sorted([*(set(parts) - {outer}), *_children(network, outer, head)], met)
    is_kernel = any(_holds(network, part, _KERNEL_DIMENSIONS) for part in parts)
    dimensions = _KERNEL_DIMENSIONS if is_kernel else 2
    while opened := _to_open(network, parts, dimensions):
        parts = _sorted([*(set(parts) - {opened}), *_children(network, opened, head)], met)
    return _grouped(network, parts, dimensions, head)


def chosen_blocks(blocks: Sequence[Block], unfreeze: Unfreeze) -> tuple[Block, ...]:
    """Take the last blocks, the very last first.

    Raises:
        SettingsError: There are not so many, or it is no number and no word for one.
    """
    words = {"none": 0, "last-block": 1, "all": len(blocks)}
    count = words.get(str(unfreeze))
    if count is None:
        text = str(unfreeze)
        if not (text.isascii() and text.isdecimal()):
            raise SettingsError(
                f"unfreeze must be none, last-block, all or a number of blocks, found {text!r}"
            )
        count = int(text)
    if not blocks and str(unfreeze) not in ("none", "0"):
        raise SettingsError(
            "the parts of this network are not known, as of one that was captured without its "
            "code: nothing but its head can be trained; take linear-probe or head"
        )
    if count > len(blocks):
        names = ", ".join(block.name for block in blocks)
        raise SettingsError(
            f"{count} blocks cannot be unfrozen: the network has {len(blocks)} ({names})"
        )
    return tuple(reversed(blocks))[:count]


def _order_of_execution(network: nn.Module, sample: Tensor) -> dict[str, int]:
    """Number the modules without children by the moment at which they are first called."""
    met: dict[str, int] = {}

    def note(name: str) -> None:
        met.setdefault(name, len(met))

    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: note(name))
        for name, module in network.named_modules(remove_duplicate=False)
        if not any(module.children())
    ]
    try:
        with held_in_eval(network), torch.no_grad():
            network(sample)
    finally:
        for hook in hooks:
            hook.remove()
    return met


def _children(network: nn.Module, name: str, head: str) -> list[str]:
    module = network.get_submodule(name)
    prefix = f"{name}." if name else ""
    names = [prefix + child for child, _ in module.named_children()]
    return [child for child in names if child != head and _has_tensors(network, child)]


def _sorted(parts: Sequence[str], met: dict[str, int]) -> list[str]:
    """Sort by the first call of anything inside; what is never called is left out."""
    first = {
        part: min((at for name, at in met.items() if _is_inside(name, part)), default=None)
        for part in parts
    }
    return sorted(
        (part for part in parts if first[part] is not None), key=lambda part: first[part] or 0
    )


def _to_open(network: nn.Module, parts: Sequence[str], dimensions: int) -> str | None:
    """Choose the largest sequence, or the only part, while there are few."""
    carrying = [part for part in parts if _holds(network, part, dimensions)]
    if len(carrying) >= _FEWEST:
        return None
    closed = [
        part
        for part in carrying
        if any(network.get_submodule(part).children())
        and (len(carrying) == 1 or isinstance(network.get_submodule(part), nn.Sequential))
    ]
    return max(closed, key=lambda part: _size(network, (part,)), default=None)


def _grouped(
    network: nn.Module, parts: Sequence[str], dimensions: int, head: str
) -> tuple[Block, ...]:
    groups: list[list[str]] = []
    for part in parts:
        if not groups or (
            _holds(network, part, dimensions)
            and any(_holds(network, each, dimensions) for each in groups[-1])
        ):
            groups.append([])
        groups[-1].append(part)
    if groups:
        groups[0].extend(_own_parameters(network, parts, head))
    return tuple(
        Block(
            name=group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}",
            parts=tuple(group),
            parameters=_size(network, group),
        )
        for group in groups
    )


def _own_parameters(network: nn.Module, parts: Sequence[str], head: str) -> Iterator[str]:
    """Name the parameters of the modules that were opened, such as a class token."""
    opened = {
        ".".join(part.split(".")[:depth])
        for part in [*parts, head]
        for depth in range(part.count(".") + 1)
    }
    for name in sorted(opened):
        prefix = f"{name}." if name else ""
        for own, _ in network.get_submodule(name).named_parameters(recurse=False):
            yield prefix + own


def _is_inside(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _has_tensors(network: nn.Module, part: str) -> bool:
    module = network.get_submodule(part)
    return any(True for _ in (*module.parameters(), *module.buffers()))


def _holds(network: nn.Module, part: str, dimensions: int) -> bool:
    return any(value.ndim >= dimensions for value in network.get_submodule(part).parameters())


def _size(network: nn.Module, parts: Sequence[str]) -> int:
    return sum(
        value.numel()
        for name, value in network.named_parameters()
        if any(_is_inside(name, part) for part in parts)
    )
