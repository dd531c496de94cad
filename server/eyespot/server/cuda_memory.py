"""Memory on CUDA devices that another process allocated: opened by its handle, read and written.

The driver's own library is spoken to, which is there wherever a device is. What is read passes
through the host's memory: a batch is put together there.
"""

import ctypes
from collections.abc import Callable
from typing import Any

from eyespot.server.errors import InvalidArgumentError, UnimplementedError

HANDLE_BYTES = 64  # of cudaIpcMemHandle_t and CUipcMemHandle, which are the same
_LIBRARY = "libcuda.so.1"
_LAZY_ENABLE_PEER_ACCESS = 1  # the only flag that opening takes


class _Handle(ctypes.Structure):
    _fields_ = (("reserved", ctypes.c_char * HANDLE_BYTES),)


class CudaDriver:
    """The few functions of the CUDA driver that it takes.

    Args:
        load: gives the library; another one in tests, where there is no device.

    Raises:
        UnimplementedError: there is no driver, or no device.
    """

    def __init__(self, load: Callable[[str], Any] = ctypes.CDLL) -> None:
        self._contexts: dict[int, ctypes.c_void_p] = {}
        try:
            self._library = load(_LIBRARY)
            self._call("cuInit", 0)
        except (OSError, InvalidArgumentError) as error:
            raise UnimplementedError(
                f"CUDA shared memory needs a CUDA device, and none is here: {error}; send tensors "
                "in the message or in system shared memory"
            ) from error

    def open(self, handle: bytes, *, device_id: int, byte_size: int) -> "CudaMemory":
        """Open what a handle stands for.

        Raises:
            InvalidArgumentError: there is no such device or memory, or it is too small.
        """
        if len(handle) != HANDLE_BYTES:
            raise InvalidArgumentError(
                f"a CUDA memory handle has {HANDLE_BYTES} bytes, found {len(handle)}"
            )
        if not 0 <= device_id < 2**31:
            raise InvalidArgumentError(f"there is no CUDA device {device_id}")
        self.enter(device_id)
        pointer, base, size = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_size_t()
        self._call(
            "cuIpcOpenMemHandle_v2",
            ctypes.byref(pointer),
            _Handle.from_buffer_copy(handle),
            _LAZY_ENABLE_PEER_ACCESS,
        )
        memory = CudaMemory(self, device_id, pointer)
        try:
            self._call("cuMemGetAddressRange_v2", ctypes.byref(base), ctypes.byref(size), pointer)
            if not 1 <= byte_size <= size.value:
                raise InvalidArgumentError(
                    f"a region of {byte_size} bytes is to lie in {size.value} bytes of CUDA memory"
                )
        except InvalidArgumentError:
            memory.close()
            raise
        return memory

    def enter(self, device_id: int) -> None:
        """Make a device's context the calling thread's, the one that ONNX Runtime uses too."""
        if device_id not in self._contexts:
            device, context = ctypes.c_int(), ctypes.c_void_p()
            self._call("cuDeviceGet", ctypes.byref(device), device_id)
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
            self._contexts[device_id] = context
        self._call("cuCtxSetCurrent", self._contexts[device_id])

    def copy_to_host(self, raw: ctypes.Array[ctypes.c_char], address: int) -> None:
        """Fill a buffer with what lies at an address of the current device."""
        self._call("cuMemcpyDtoH_v2", raw, ctypes.c_uint64(address), ctypes.c_size_t(len(raw)))

    def copy_to_device(self, address: int, raw: bytes) -> None:
        """Put bytes to an address of the current device."""
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), raw, ctypes.c_size_t(len(raw)))

    def close(self, pointer: ctypes.c_uint64) -> None:
        """Let go of what was opened."""
        self._call("cuIpcCloseMemHandle", pointer)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise InvalidArgumentError(f"{name}: {self._text_of(status)}")

    def _text_of(self, status: int) -> str:
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(status, ctypes.byref(text))
        return (text.value or b"unknown error").decode(errors="replace")


class CudaMemory:
    """Memory of one device, from the beginning of an allocation on."""

    def __init__(self, driver: CudaDriver, device_id: int, pointer: ctypes.c_uint64) -> None:
        self._driver = driver
        self._device_id = device_id
        self._pointer = pointer

    def read(self, offset: int, byte_size: int) -> bytes:
        """The bytes there, copied to the host."""
        raw = ctypes.create_string_buffer(byte_size)
        self._driver.enter(self._device_id)
        if byte_size:
            self._driver.copy_to_host(raw, self._pointer.value + offset)
        return raw.raw

    def write(self, offset: int, raw: bytes) -> None:
        """Put bytes there."""
        self._driver.enter(self._device_id)
        if raw:
            self._driver.copy_to_device(self._pointer.value + offset, raw)

    def close(self) -> None:
        """Let go of it; it is its owner's to free."""
        self._driver.enter(self._device_id)
        self._driver.close(self._pointer)
