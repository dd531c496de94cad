"""A bound on the bytes of all requests that are admitted and not answered, whatever their model.

A queue counts requests, and these may be small or large. Who has nothing waiting may take what is
free; who has may hold as much as would still be free afterwards for the others (Choudhury and
Hahne, 1998, "Dynamic queue length thresholds for shared-memory packet switches", with alpha 1).
So a caller that is alone gets half, and never leaves nothing for the next one.
"""

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from eyespot.server.errors import ASK_AGAIN_SECONDS, WaitingBytesError

_MIB = 1024 * 1024


class WaitingBytes:
    """Counts what is held, by caller; use it from one event loop.

    Args:
        most: bytes that all callers together may hold.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()
        self.total = 0

    def holding(self, size: int, caller: str) -> "_Held":
        """Counts a request of `size` bytes; within the block that it is entered with.

        Raises:
            WaitingBytesError: there is no room for it.
        """
        held, free = self._held[caller], self._most - self.total
        if size > free or (held and held + size > free):
            raise WaitingBytesError(
                f"requests of {self.total / _MIB:.1f} MiB wait already, {held / _MIB:.1f} of this "
                f"caller, of the {self._most / _MIB:.0f} that may (max_waiting_mib); send it "
                "again later",
                wait_seconds=ASK_AGAIN_SECONDS,
            )
        return _Held(self._add, size, caller)

    def _add(self, size: int, caller: str) -> None:
        self.total += size
        self._held[caller] += size
        if not self._held[caller]:
            del self._held[caller]  # callers come and never come again


class _Held:
    """A request that is counted within a block; a class, as each call enters one."""

    __slots__ = ("_add", "_caller", "_size")

    def __init__(self, add: Callable[[int, str], None], size: int, caller: str) -> None:
        self._add = add
        self._size = size
        self._caller = caller

    def __enter__(self) -> None:
        self._add(self._size, self._caller)

    def __exit__(self, *_: object) -> None:
        self._add(-self._size, self._caller)


def bytes_of(arrays: Iterable[NDArray[np.generic]]) -> int:
    """Bytes of some tensors; of texts, those of their contents."""
    size = 0
    for array in arrays:
        is_text = array.dtype == object
        size += sum(map(len, array.ravel().tolist())) if is_text else array.nbytes
    return size
