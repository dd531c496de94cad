"""A table of what was learned by key, where keys may come and never come again."""

from collections.abc import Callable, Hashable
from typing import TypeVar

ValueT = TypeVar("ValueT")

_MOST = 64


class Remembered(dict[Hashable, ValueT]):
    """Makes a value for a key that is not there; the oldest goes where there would be too many."""

    def __init__(self, make: Callable[[], ValueT]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: Hashable) -> ValueT:
        """The value of a new key."""
        if len(self) >= _MOST:
            del self[next(iter(self))]
        value = self[key] = self._make()
        return value
