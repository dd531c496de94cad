"""Listed pictures into pixels: by several threads, in their order, into memory or onto the disk."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from eyespot.transfer.picture_listing import Listed
from eyespot.v1.preprocessing import PreprocessingRule

# More than so many bytes of pixels lie in a file that the system reads as it is needed.
_MOST_IN_MEMORY = 512 * 2**20
# Decoding lets go of the interpreter: threads work at the same time.
_MOST_THREADS = 8


@dataclass(frozen=True, eq=False)
class ReadPictures:
    """What could be read.

    Attributes:
        images: UINT8 (M, H, W, C) for M pictures.
        kept: Of each picture, its place among those listed.
        hashes: Of the pixels of each.
        skipped: Name and reason of each that could not be read.
    """

    images: NDArray[np.uint8]
    kept: tuple[int, ...]
    hashes: tuple[bytes, ...]
    skipped: tuple[str, ...]


def read_pictures(
    listed: Sequence[Listed],
    rule: PreprocessingRule,
    *,
    progress: Callable[[int], None] = lambda total: None,
) -> ReadPictures:
    """Read pictures, and put each through the rule.

    A picture of more pixels than Pillow takes (`Image.MAX_IMAGE_PIXELS`) is skipped on the word
    of its header, before it is decoded.

    Args:
        listed: What to read.
        rule: Gives all of them one size.
        progress: Called after each, with how many there are.
    """
    assert rule.size is not None
    images = allocate(len(listed), (*rule.size, rule.channels))
    kept: list[int] = []
    hashes: list[bytes] = []
    skipped: list[str] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(_threads()) as threads:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # Leaving the loop early lets go of the map, which calls off all that is left to read.
        for at, read in enumerate(threads.map(lambda each: _read(each, rule), listed)):
            progress(len(listed))
            if isinstance(read, str):
                skipped.append(read)
                continue
            images[len(kept)], digest = read
            kept.append(at)
            hashes.append(digest)
    return ReadPictures(images[: len(kept)], tuple(kept), tuple(hashes), tuple(skipped))


def take(images: NDArray[np.uint8], rows: Sequence[int]) -> NDArray[np.uint8]:
    """Copy some pictures, (M, H, W, C), to where so many belong."""
    taken = allocate(len(rows), images.shape[1:])
    for to, row in enumerate(rows):
        taken[to] = images[row]
    return taken


def allocate(count: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Make room for pictures: in memory, or in a file that is gone when nobody uses it any more."""
    whole = (count, *shape)
    if math.prod(whole) <= _MOST_IN_MEMORY:
        return np.empty(whole, np.uint8)
    with tempfile.TemporaryFile(prefix="eyespot-") as file:
        file.truncate(math.prod(whole))
        mapped: NDArray[np.uint8] = np.memmap(file, np.uint8, "r+", shape=whole)
    return mapped.view(np.ndarray)


def _read(listed: Listed, rule: PreprocessingRule) -> tuple[NDArray[np.uint8], bytes] | str:
    """Give the pixels and their hash, or why there are none."""
    try:
        with listed.open() as image:
            pixels = np.ascontiguousarray(rule.apply(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"{listed.name}: more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    except UnidentifiedImageError:
        return f"{listed.name}: no picture"
    except (OSError, SyntaxError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return f"{listed.name}: {reason or error}"
    return pixels, hashlib.sha256(pixels.data).digest()


def _threads() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(usable or 1, _MOST_THREADS)
