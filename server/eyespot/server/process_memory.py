"""What the C library keeps of memory that was freed, and how it is told to give it back.

glibc has a heap for each of several threads and keeps what lies free in them. For other C
libraries there is nothing to tell: the calls do nothing.
"""

import ctypes
from collections.abc import Callable

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Bytes; told, it no longer grows with what is freed. Weights are above the first, so that loading
# them leaves no holes; tensors of networks for pictures are below the second: fetched from the
# system for each run, they took as much processor time as the run itself.
_LARGE, _LARGER = 128 << 10, 8 << 20


def give_back() -> None:
    """Gives the system what is free: a graph leaves much behind while it is rewritten."""
    _call("malloc_trim", 0)


def keep_little() -> None:
    """Lets threads share one heap, and what is large come from the system and go back to it."""
    _call("mallopt", _M_ARENA_MAX, 1)
    _take_from_system(_LARGE)


def keep_tensors() -> None:
    """Lets what one run frees be there for the next one."""
    _take_from_system(_LARGER)


def _take_from_system(least: int) -> None:
    _call("mallopt", _M_MMAP_THRESHOLD, least)
    _call("mallopt", _M_TRIM_THRESHOLD, least)


def _call(name: str, *numbers: int) -> None:
    function: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*numbers)
