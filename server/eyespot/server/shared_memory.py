"""The protocol's shared memory, the system's and CUDA's: tensors that stay out of the messages.

A region is a part of memory that another process owns, by the name under which a caller has
registered it. Both kinds share their names, as a request says no more than the name.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, TypeVar

from eyespot.server.cuda_memory import CudaDriver
from eyespot.server.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnimplementedError,
)
from eyespot.server.memory_objects import MemoryObject

_MOST_REGIONS = 1024  # each takes a file descriptor
_LONGEST_NAME = 255
_SWITCHED_OFF = "shared memory is switched off; start the server with --shared-memory"


class Region(NamedTuple):
    """A registered region: `byte_size` bytes from `offset` on of the object `key`."""

    name: str
    key: str
    offset: int
    byte_size: int


class CudaRegion(NamedTuple):
    """A registered region on a CUDA device: `byte_size` bytes of one allocation."""

    name: str
    device_id: int
    byte_size: int

    @property
    def offset(self) -> int:
        """Where it begins in the allocation."""
        return 0


class RegionPart(NamedTuple):
    """The part of a region that holds one tensor; `offset` counts within the region."""

    region: str
    offset: int
    byte_size: int


class _Memory(Protocol):
    """What a region lies in."""

    def read(self, offset: int, byte_size: int) -> bytes: ...

    def write(self, offset: int, raw: bytes) -> None: ...

    def close(self) -> None: ...


_Kind = TypeVar("_Kind", Region, CudaRegion)


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
        self._cuda: CudaDriver | None = None
        self._regions: dict[str, tuple[Region | CudaRegion, _Memory]] = {}

    @property
    def extensions(self) -> list[str]:
        """Those of the protocol that it makes possible here, by their names."""
        if not self.is_enabled:
            return []
        try:
            self._driver()
        except UnimplementedError:
            return ["system_shared_memory"]
        return ["system_shared_memory", "cuda_shared_memory"]

    def register(self, region: Region) -> None:
        """Opens an object and remembers a region of it.

        Raises:
            AlreadyExistsError: the name is taken.
            InvalidArgumentError: there is no such object, or it is too small.
            ResourceExhaustedError: as many are registered as may be.
            UnimplementedError: shared memory is switched off.
        """
        self._check_name(region.name)
        memory = MemoryObject(region.key, prefix=self._prefix)
        if region.byte_size < 1 or region.offset + region.byte_size > memory.byte_size:
            size = memory.byte_size
            memory.close()
            raise InvalidArgumentError(
                f"shared memory region '{region.name}' is to have {region.byte_size} bytes from "
                f"{region.offset} on, its object {region.key!r} has {size}"
            )
        self._regions[region.name] = (region, memory)

    def register_cuda(self, region: CudaRegion, handle: bytes) -> None:
        """Opens memory on a CUDA device by its handle and remembers it.

        Raises:
            AlreadyExistsError, ResourceExhaustedError: as `register`.
            InvalidArgumentError: there is no such memory, or it is too small.
            UnimplementedError: shared memory is switched off, or there is no CUDA device.
        """
        self._check_name(region.name)
        memory = self._driver().open(handle, device_id=region.device_id, byte_size=region.byte_size)
        self._regions[region.name] = (region, memory)

    def unregister(self, name: str = "") -> None:
        """Forgets a region, or all without a name; one that is not there is forgotten already."""
        self.check_enabled()
        self._forget(Region, name)

    def unregister_cuda(self, name: str = "") -> None:
        """The same for CUDA's; where none can be registered, it is done."""
        self._forget(CudaRegion, name)

    def status(self, name: str = "") -> list[Region]:
        """The region of a name, or all.

        Raises:
            NotFoundError: there is none of that name.
        """
        self.check_enabled()
        return self._told(Region, name, "system")

    def cuda_status(self, name: str = "") -> list[CudaRegion]:
        """The same for CUDA's.

        Raises:
            NotFoundError: there is none of that name.
            UnimplementedError: shared memory is switched off, or there is no CUDA device.
        """
        self.check_enabled()
        self._driver()
        return self._told(CudaRegion, name, "CUDA")

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
        region, memory = self._find(part)
        raw = memory.read(region.offset + part.offset, part.byte_size)
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
        region, memory = self._find(part)
        if len(raw) > part.byte_size:
            raise InvalidArgumentError(
                f"the part of shared memory region '{part.region}' for an output has "
                f"{part.byte_size} bytes and should be at least {len(raw)} to hold the results"
            )
        memory.write(region.offset + part.offset, raw)

    def close(self) -> None:
        """Lets go of everything."""
        self._forget(Region, "")
        self._forget(CudaRegion, "")

    def check_enabled(self) -> None:
        """Makes sure that shared memory may be used.

        Raises:
            UnimplementedError: it is switched off.
        """
        if not self.is_enabled:
            raise UnimplementedError(_SWITCHED_OFF)

    def _driver(self) -> CudaDriver:
        if self._cuda is None:
            self._cuda = CudaDriver()
        return self._cuda

    def _check_name(self, name: str) -> None:
        """Makes sure that a region of this name can be registered."""
        self.check_enabled()
        if len(self._regions) >= _MOST_REGIONS:
            raise ResourceExhaustedError(
                f"{_MOST_REGIONS} shared memory regions are registered; unregister some first"
            )
        if len(name) > _LONGEST_NAME:
            raise InvalidArgumentError(
                f"the name of a shared memory region has at most {_LONGEST_NAME} characters"
            )
        if not name:
            raise InvalidArgumentError("a shared memory region needs a name")
        if name in self._regions:
            raise AlreadyExistsError(
                f"shared memory region '{name}' is registered already; unregister it first"
            )

    def _of_kind(self, kind: type[_Kind], name: str) -> Iterator[_Kind]:
        for region, _ in self._regions.values():
            if isinstance(region, kind) and name in ("", region.name):
                yield region

    def _forget(self, kind: type[_Kind], name: str) -> None:
        for region in list(self._of_kind(kind, name)):
            self._regions.pop(region.name)[1].close()

    def _told(self, kind: type[_Kind], name: str, adjective: str) -> list[_Kind]:
        found = list(self._of_kind(kind, name))
        if name and not found:
            raise NotFoundError(f"Unable to find {adjective} shared memory region: '{name}'")
        return found

    def _find(self, part: RegionPart) -> tuple[Region | CudaRegion, _Memory]:
        self.check_enabled()
        if part.region not in self._regions:
            raise InvalidArgumentError(f"Unable to find shared memory region: '{part.region}'")
        region, memory = self._regions[part.region]
        if part.offset < 0 or part.byte_size < 0 or part.offset + part.byte_size > region.byte_size:
            raise InvalidArgumentError(
                f"Invalid offset + byte size for shared memory region: '{part.region}' has "
                f"{region.byte_size} bytes, not {part.byte_size} from {part.offset} on"
            )
        return region, memory
