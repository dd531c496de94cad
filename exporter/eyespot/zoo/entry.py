"""What the zoo knows of a network before it is built, and of a module once it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from eyespot.v1.preprocessing import PreprocessingRule

StateDict = dict[str, Tensor]


class Builder(Protocol):
    """Build a network with random weights, for inputs (B, in_channels, input_size, input_size)."""

    def __call__(self, *, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
        """Build it."""
        ...


def keep_state_dict(state_dict: StateDict) -> StateDict:
    """Adapt nothing: the names in files of this network are the module's own."""
    return state_dict


@dataclass(frozen=True)
class ModelEntry:
    """A network of the zoo: what its paper says, and where ours departs from it.

    Attributes:
        name: The name that `create_model` takes.
        builder: Makes the module.
        paper: Authors, title and where it appeared.
        year: When the paper was first published.
        input_size: (C, H, W) of the paper's input.
        min_input_size: The smallest height and width that the network can take.
        num_classes: How many classes the paper's network tells apart.
        parameter_count: Trainable parameters at these sizes.
        task: What the output means.
        departures: Where the network differs from its paper, in words.
        preprocessing: From a picture to the input that the network was trained on.
        torchvision_name: The builder in torchvision.models whose weights fit, if there is one.
        adapt_state_dict: Renames or drops what older or training-time files hold.
    """

    name: str
    builder: Builder = field(repr=False)
    paper: str
    year: int
    input_size: tuple[int, int, int]
    min_input_size: int
    num_classes: int
    parameter_count: int
    departures: str = field(repr=False)
    preprocessing: PreprocessingRule = field(repr=False)
    task: Literal["classification"] = "classification"
    torchvision_name: str | None = None
    adapt_state_dict: Callable[[StateDict], StateDict] = field(default=keep_state_dict, repr=False)


# Weak, so that remembering a module neither keeps it alive nor puts anything on it.
_entries: WeakKeyDictionary[nn.Module, ModelEntry] = WeakKeyDictionary()


def remember_entry(module: nn.Module, entry: ModelEntry) -> None:
    """Note which entry the module was built from."""
    _entries[module] = entry


def entry_of(module: nn.Module) -> ModelEntry | None:
    """Tell which entry a module was built from; None for a module from elsewhere."""
    return _entries.get(module)
