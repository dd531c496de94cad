"""Pictures that are named but not read yet: what a folder, a table or a file of arrays lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

HELD_OUT = ("val", "validation", "test")
"""How the part that is held out may be called; of several, the first is taken."""


@dataclass(frozen=True)
class Listed:
    """A picture that can be opened.

    Attributes:
        name: Its path below the data, or its row.
        classes: Names of its classes: one, or any number where pictures may have several.
        open: Opens it; of a file, no more than the header is read by that.
    """

    name: str
    classes: tuple[str, ...]
    open: Callable[[], Image.Image] = field(repr=False)


@dataclass(frozen=True)
class Listing:
    """What there is to learn from.

    Attributes:
        labels: Names of the classes, by index.
        learnt: Pictures to learn from; where nothing is said of `measured`, all there are.
        measured: Pictures to measure with; None where they are to be chosen by chance.
    """

    labels: tuple[str, ...]
    learnt: tuple[Listed, ...]
    measured: tuple[Listed, ...] | None = None
