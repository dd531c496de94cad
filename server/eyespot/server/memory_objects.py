"""POSIX shared memory objects, opened by their keys, read and written by system calls.

They are never mapped: a caller that shortens its object gets an error, where a mapping would
kill the server.
"""

import os
from pathlib import Path

from eyespot.server.errors import InvalidArgumentError

_OBJECTS = Path("/dev/shm")  # where Linux keeps them


class MemoryObject:
    """An object that is open.

    Args:
        key: its name, with or without a slash in front.
        prefix: what the names of all objects begin with that may be opened.

    Raises:
        InvalidArgumentError: there is none, or it may not be opened.
    """

    def __init__(self, key: str, *, prefix: str = "") -> None:
        name = key.removeprefix("/")
        if not name or name != Path(name).name or name in (".", "..") or "\0" in name:
            raise InvalidArgumentError(f"{key!r} is no key of a shared memory object")
        if not name.startswith(prefix):
            raise InvalidArgumentError(
                f"keys of shared memory objects begin with {prefix!r} here, found {key!r}"
            )
        try:
            self._descriptor = os.open(_OBJECTS / name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise InvalidArgumentError(
                f"Unable to open shared memory region: {key!r}: {error.strerror}"
            ) from error

    @property
    def byte_size(self) -> int:
        """How large it is now."""
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, byte_size: int) -> bytes:
        """The bytes there as they are now; fewer where the object ends."""
        return os.pread(self._descriptor, byte_size, offset)

    def write(self, offset: int, raw: bytes) -> None:
        """Put bytes there."""
        os.pwrite(self._descriptor, raw, offset)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)
