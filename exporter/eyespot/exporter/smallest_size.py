"""The smallest height and width that a network can take, found by trying without computing."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

_LARGEST = 1024


def smallest_size(passes: Callable[[int], bool], *, above: int) -> int | None:
    """Search the smallest size that passes, given one that does not.

    Args:
        passes: Tells of a size; all above one that passes do too.
        above: A size that does not pass.

    Returns:
        None if nothing up to 1024 passes.
    """
    too_small, enough = above, above + 1
    while not passes(enough):
        too_small, enough = enough, 2 * enough
        if enough > _LARGEST:
            return None
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        if passes(middle):
            enough = middle
        else:
            too_small = middle
    return enough


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """Keep back the traces that PyTorch logs of an error which it raises too."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    found = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(found)
