"""Layers by their names: those of the nodes that hold maps, and those of modules."""

import difflib
from collections.abc import Sequence

from eyespot.saliency.backend import Layer

_LONGEST_COMPARED = 255  # comparing texts takes time by their length


def named_layer(name: str, layers: Sequence[Layer]) -> str | None:
    """The node that a name means: its own, or the one with the last map of a module."""
    for layer in layers:
        if layer.name == name:
            return name
    return next((layer.name for layer in layers if name in layer.modules), None)


def nearest_names(name: str, layers: Sequence[Layer]) -> str:
    """Ask whether another name was meant, if one is near; ends in a space then."""
    names = [each for layer in layers for each in (layer.name, *layer.modules)]
    found = difflib.get_close_matches(name[:_LONGEST_COMPARED], names, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, found))}? " if found else ""
