"""The ways to fine-tune a network, from the cheapest to the dearest.

The second and the third are steps of Chollet, "Building powerful image classification models
using very little data", The Keras Blog, 2016: a small fully-connected network on bottleneck
features, then the last convolutional block at a very low rate.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from eyespot.transfer.backbones import Backbone
from eyespot.transfer.errors import SettingsError
from eyespot.transfer.heads import replace_head
from eyespot.transfer.stages.blocks import Unfreeze
from eyespot.transfer.stages.chance import torch_chance_at

HIDDEN = 256
DROPOUT = 0.5


@dataclass(frozen=True)
class Method:
    """One way.

    Attributes:
        summary: One line.
        unfreeze: The blocks that learn after the head has.
        gradual: They begin one after another.
        is_deep: The head has a hidden layer.
    """

    summary: str
    unfreeze: Unfreeze = "none"
    gradual: bool = False
    is_deep: bool = False


METHODS = {
    "linear-probe": Method("one linear layer on features that are computed once"),
    "head": Method(
        f"a head with a hidden layer of {HIDDEN} and dropout, on features that are computed once",
        is_deep=True,
    ),
    "last-block": Method(
        "a linear layer, then it and the last block at a very low rate", unfreeze="last-block"
    ),
    "full": Method("a linear layer, then the whole network", unfreeze="all"),
    "gradual": Method(
        "a linear layer, then one block more at a time, the last first",
        unfreeze="all",
        gradual=True,
    ),
}


def method_of(name: str) -> Method:
    """Find a method by its name.

    Raises:
        SettingsError: There is none of this name.
    """
    if name not in METHODS:
        raise SettingsError(f"method must be one of {', '.join(METHODS)}, found {name!r}")
    return METHODS[name]


def deepen_head(backbone: Backbone, *, seed: int) -> None:
    """Put a hidden layer with dropout before the head of a network.

    Raises:
        SettingsError: The head is no linear layer.
    """
    old = backbone.head_layer
    if not isinstance(old, nn.Linear):
        raise SettingsError(
            f"method head needs a linear head, and {backbone.head.name} of "
            f"{backbone.provenance.architecture} is a {backbone.head.kind}: take linear-probe"
        )
    name = backbone.head.name
    parent, _, child = name.rpartition(".")
    hidden = nn.Linear(old.in_features, HIDDEN)
    last = nn.Linear(HIDDEN, old.out_features)
    head = nn.Sequential(hidden, nn.ReLU(), nn.Dropout(DROPOUT), last).eval()
    with torch_chance_at(seed):
        nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")
    nn.init.zeros_(hidden.bias)
    setattr(backbone.network.get_submodule(parent), child, head)
    replace_head(backbone.network, f"{name}.3", old.out_features, seed=seed)
