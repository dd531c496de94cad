"""The protocol's system shared memory: tensors that stay out of the messages.

A region is a part of a POSIX shared memory object, by the name under which a caller has
registered it. It is read and written by system calls and never mapped: a caller that
shortens its object gets an error, where a mapping would kill the server.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eyespot.server.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnimplementedError,
)

_MOST_REGIONS = 1024  # each takes a file descriptor
_LONGEST_NAME = 255
_OBJECTS = Path("/dev/shm")  # where Linux keeps them
_SWITCHED_OFF = "shared memory is switched off; start the server with --shared-memory"


@dataclass(frozen=True)
class Region:
    """A registered region: `byte_size` bytes from `offset` on of the object `key`."""

    name: str
    key: str
    offset: int
    byte_size: int


@dataclass(frozen=True, slots=True)
class RegionPart:
    """The part of a region that holds one tensor; `offset` counts within the region."""

    region: str
    offset: int
    byte_size: int


class SharedMemory:
    """The regions of one server.

    Args:
        is_enabled: otherwise every use is refused.
        prefix: what the keys of objects begin with that callers may name; those of other
            programs are out of reach then.
    """

    def __init__(self, *, is_enabled: bool, prefix: str = "") -> None:
        self.is_enabled = is_enabled
        self._prefix = prefix.removeprefix("/")
        self._regions: dict[str, tuple[Region, int]] = {}  # with an open file descriptor

    def register(self, region: Region) -> None:
        """Opens an object and remembers a region of it.

        Raises:
            AlreadyExistsError: the name is taken.
            InvalidArgumentError: there is no such object, or it is too small.
            ResourceExhaustedError: as many are registered as may be.
            UnimplementedError: shared memory is switched off.
        """
        self.check_enabled()
        if len(self._regions) >= _MOST_REGIONS:
            raise ResourceExhaustedError(
                f"{_MOST_REGIONS} shared memory regions are registered; unregister some first"
            )
        if len(region.name) > _LONGEST_NAME:
            raise InvalidArgumentError(
                f"the name of a shared memory region has at most {_LONGEST_NAME} characters"
            )
        if not region.name:
            raise InvalidArgumentError("a shared memory region needs a name")
        if region.name in self._regions:
            raise AlreadyExistsError(
                f"shared memory region '{region.name}' is registered already; unregister it first"
            )
        key = region.key.removeprefix("/")
        if not key or key != Path(key).name or key in (".", "..") or "\0" in key:
            raise InvalidArgumentError(f"{region.key!r} is no key of a shared memory object")
        if not key.startswith(self._prefix):
            raise InvalidArgumentError(
                f"keys of shared memory objects begin with {self._prefix!r} here, "
                f"found {region.key!r}"
            )
        try:
            descriptor = os.open(_OBJECTS / key, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise InvalidArgumentError(
                f"Unable to open shared memory region: {region.key!r}: {error.strerror}"
            ) from error
        size = os.fstat(descriptor).st_size
        if region.byte_size < 1 or region.offset + region.byte_size > size:
            os.close(descriptor)
            raise InvalidArgumentError(
                f"shared memory region '{region.name}' is to have {region.byte_size} bytes from "
                f"{region.offset} on, its object {region.key!r} has {size}"
            )
        self._regions[region.name] = (region, descriptor)

    def unregister(self, name: str = "") -> None:
        """Forgets a region, or all without a name; one that is not there is forgotten already."""
        self.check_enabled()
        for each in [name] if name else list(self._regions):
            if each in self._regions:
                os.close(self._regions.pop(each)[1])

    def status(self, name: str = "") -> Sequence[Region]:
        """The region of a name, or all.

        Raises:
            NotFoundError: there is none of that name.
        """
        self.check_enabled()
        if name and name not in self._regions:
            raise NotFoundError(f"Unable to find system shared memory region: '{name}'")
        return [region for region, _ in self._regions.values() if name in ("", region.name)]

    def check(self, part: RegionPart) -> None:
        """Makes sure that a part lies within its region.

        Raises:
            InvalidArgumentError: it does not, or there is no such region.
        """
        self._find(part)

    def read(self, part: RegionPart) -> bytes:
        """The bytes of a part as they are now.

        Raises:
            InvalidArgumentError: it does not lie within its region, or the object is shorter
                than it was.
        """
        region, descriptor = self._find(part)
        raw = os.pread(descriptor, part.byte_size, region.offset + part.offset)
        if len(raw) != part.byte_size:
            raise InvalidArgumentError(
                f"the object of shared memory region '{part.region}' has become too short"
            )
        return raw

    def write(self, part: RegionPart, raw: bytes) -> None:
        """Puts bytes to the beginning of a part.

        Raises:
            InvalidArgumentError: they do not fit, or the part does not lie within its region.
        """
        region, descriptor = self._find(part)
        if len(raw) > part.byte_size:
            raise InvalidArgumentError(
                f"the part of shared memory region '{part.region}' for an output has "
                f"{part.byte_size} bytes and should be at least {len(raw)} to hold the results"
            )
        os.pwrite(descriptor, raw, region.offset + part.offset)

    def close(self) -> None:
        """Lets go of every object."""
        if self.is_enabled:
            self.unregister()

    def check_enabled(self) -> None:
        """Makes sure that shared memory may be used.

        Raises:
            UnimplementedError: it is switched off.
        """
        if not self.is_enabled:
            raise UnimplementedError(_SWITCHED_OFF)

    def _find(self, part: RegionPart) -> tuple[Region, int]:
        self.check_enabled()
        if part.region not in self._regions:
            raise InvalidArgumentError(f"Unable to find shared memory region: '{part.region}'")
        region, descriptor = self._regions[part.region]
        if part.offset < 0 or part.byte_size < 0 or part.offset + part.byte_size > region.byte_size:
            raise InvalidArgumentError(
                f"Invalid offset + byte size for shared memory region: '{part.region}' has "
                f"{region.byte_size} bytes, not {part.byte_size} from {part.offset} on"
            )
        return region, descriptor
