"""What is told of pictures that a command reads to learn from or to measure with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from eyespot.cli.progress import Counter, tell_line

if TYPE_CHECKING:
    from eyespot.transfer import PictureSplit

_MOST_TOLD = 5


def counting_pictures(tell: Callable[[str], None]) -> Callable[[int], None]:
    """Make what takes, after each picture, how many there are, and tells how many are read."""
    counters: list[Counter] = []

    def count(total: int) -> None:
        if not counters:
            counters.append(Counter(tell, total, "pictures read"))
        counters[0].add(1)

    return count


def tell_of_split(split: PictureSplit) -> None:
    """Tell what is the matter with the pictures."""
    tell_some("skipped", split.skipped)
    tell_some("held out, but learnt from as well under another name:", split.repeated)


def tell_some(what: str, names: Sequence[str]) -> None:
    """Name the first of them, and count the others."""
    for name in names[:_MOST_TOLD]:
        tell_line(f"{what} {name}")
    if len(names) > _MOST_TOLD:
        tell_line(f"{what} {len(names) - _MOST_TOLD} more")
