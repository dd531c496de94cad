"""What the zoo knows of a network before it is built, and of a module once it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from eyespot.v1.preprocessing import PreprocessingRule

StateDict = dict[str, Tensor]

# What the output means:
#   classification  logits (B, K), one class for each row
#   segmentation    logits (B, K, H, W), one class for each pixel
#   flow            (B, 2, H, W), pixels to the right and downwards
#   embedding       (B, D)
#   sequence        logits (B, T, K), one class for each step
#   image           (B, C, H, W)
Task = Literal["classification", "segmentation", "flow", "embedding", "sequence", "image"]


class Builder(Protocol):
    """Build a network with random weights, for inputs (B, in_channels, input_size, input_size)."""

    def __call__(self, *, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
        """Build it."""
        ...


def keep_state_dict(state_dict: StateDict) -> StateDict:
    """Adapt nothing: the names in files of this network are the module's own."""
    return state_dict


def keep_module(module: nn.Module) -> nn.Module:
    """Give the module itself: the whole network is what is exported."""
    return module


@dataclass(frozen=True)
class InputFact:
    """One input of a network.

    Attributes:
        name: On the wire.
        shape: Of one row; a text names a size that may vary, such as "time".
        datatype: Of the protocol.
        upper: For whole numbers, one above the largest value.
    """

    name: str
    shape: tuple[int | str, ...]
    datatype: str = "FP32"
    upper: int | None = None


@dataclass(frozen=True)
class Part:
    """Something of a network that is exported as a model of its own.

    Attributes:
        suffix: Joined to the name of the model by an underscore; empty for the network itself.
        inputs: In the order in which the part's forward takes them.
        outputs: Names, in the order in which it gives them.
        select: From the network to the module that computes the part.
    """

    suffix: str
    inputs: tuple[InputFact, ...]
    outputs: tuple[str, ...]
    select: Callable[[nn.Module], nn.Module] = field(default=keep_module, repr=False)


@dataclass(frozen=True)
class ModelEntry:
    """A network of the zoo: what its paper says, and where ours departs from it.

    Attributes:
        name: The name that `create_model` takes.
        builder: Makes the module.
        paper: Authors, title and where it appeared.
        year: When the paper was first published.
        input_size: Of the paper's input: (C, H, W) of a picture, (C, T) of a signal, (V, T) of
            T symbols out of V.
        min_input_size: The smallest height and width, or length, that the network can take.
        num_classes: How many classes the paper's network tells apart; the width of an embedding.
        parameter_count: Trainable parameters at these sizes.
        departures: Where the network differs from its paper, in words.
        preprocessing: From a picture to the input that the network was trained on; None where
            the input is no picture.
        macs: Multiplications with accumulation for one row at these sizes, of convolutions and
            matrix products.
        receptive_field: Width in input pixels that one element of the last spatial map depends
            on; None where it is not defined.
        task: What the output means.
        dynamic_axes: Axes of the one input that may have any size from `min_input_size` on, by
            number (the rows are axis 0), and their names: {2: "height", 3: "width"}.
        parts: What is exported, where that is not one model from one input of `input_size` to
            one output named by the task.
        torchvision_name: The builder in torchvision.models whose weights fit, if there is one.
        adapt_state_dict: Renames or drops what older or training-time files hold.
    """

    name: str
    builder: Builder = field(repr=False)
    paper: str
    year: int
    input_size: tuple[int, ...]
    min_input_size: int
    num_classes: int
    parameter_count: int
    departures: str = field(repr=False)
    preprocessing: PreprocessingRule | None = field(repr=False)
    macs: int
    receptive_field: int | None
    task: Task = "classification"
    dynamic_axes: Mapping[int, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
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
