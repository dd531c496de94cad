"""CUDA shared memory, with a driver that is made up: its memory is a bytearray here.

On a machine with a device, the test marked `cuda` speaks to the real one.
"""

import ctypes
import subprocess
import sys

import grpc
import numpy as np
import pytest
from tests.server.tiny import affine, status_of

from eyespot.server import shared_memory
from eyespot.server.cuda_memory import HANDLE_BYTES, CudaDriver
from eyespot.server.errors import InvalidArgumentError, NotFoundError, UnimplementedError
from eyespot.server.shared_memory import CudaRegion, RegionPart, SharedMemory
from eyespot.v1 import inference_pb2 as pb

HANDLE = bytes(range(HANDLE_BYTES))
ADDRESS = 0x7F00_0000_0000  # beyond 32 bits, as addresses on a device are
ROW = np.float32([[1, 2, 3, 4]])


def target(reference):
    return reference._obj


class Library:
    """What the server uses of libcuda: one device, and one allocation of 64 bytes on it."""

    def __init__(self):
        self.memory = bytearray(64)
        self.opened = 0
        self.context = None

    def cuInit(self, flags):  # noqa: N802
        return 0

    def cuDeviceGet(self, device, ordinal):  # noqa: N802
        target(device).value = ordinal
        return 0 if ordinal == 0 else 101

    def cuDevicePrimaryCtxRetain(self, context, device):  # noqa: N802
        target(context).value = 7
        return 0

    def cuCtxSetCurrent(self, context):  # noqa: N802
        self.context = context.value
        return 0

    def cuIpcOpenMemHandle_v2(self, pointer, handle, flags):  # noqa: N802
        assert self.context == 7
        assert flags == 1
        if bytes(handle) != HANDLE:
            return 400
        target(pointer).value = ADDRESS
        self.opened += 1
        return 0

    def cuMemGetAddressRange_v2(self, base, size, pointer):  # noqa: N802
        target(base).value, target(size).value = pointer.value, len(self.memory)
        return 0

    def cuMemcpyDtoH_v2(self, raw, address, size):  # noqa: N802
        at = address.value - ADDRESS
        ctypes.memmove(raw, bytes(self.memory[at : at + size.value]), size.value)
        return 0

    def cuMemcpyHtoD_v2(self, address, raw, size):  # noqa: N802
        at = address.value - ADDRESS
        self.memory[at : at + size.value] = raw
        return 0

    def cuIpcCloseMemHandle(self, pointer):  # noqa: N802
        assert pointer.value == ADDRESS
        self.opened -= 1
        return 0

    def cuGetErrorString(self, status, text):  # noqa: N802
        target(text).value = {101: b"invalid device ordinal", 400: b"invalid handle"}[status]
        return 0


@pytest.fixture
def library(monkeypatch):
    library = Library()
    monkeypatch.setattr(shared_memory, "CudaDriver", lambda: CudaDriver(lambda name: library))
    return library


@pytest.fixture
def memory(library):
    memory = SharedMemory(is_enabled=True)
    yield memory
    memory.close()
    assert library.opened == 0


def test_a_region_is_read_and_written_where_it_lies(memory, library):
    library.memory[:] = bytes(range(64))
    memory.register_cuda(CudaRegion("r", 0, 16), HANDLE)
    assert memory.read(RegionPart("r", offset=4, byte_size=3)) == bytes([4, 5, 6])
    memory.write(RegionPart("r", offset=1, byte_size=15), b"\xff\xfe")
    assert library.memory[:4] == b"\x00\xff\xfe\x03"
    for part in (RegionPart("r", 0, 17), RegionPart("r", 16, 1), RegionPart("r", -1, 2)):
        with pytest.raises(InvalidArgumentError, match="'r' has 16 bytes"):
            memory.read(part)


@pytest.mark.parametrize(
    ("handle", "device_id", "byte_size", "why"),
    [
        (HANDLE[1:], 0, 16, "has 64 bytes, found 63"),
        (bytes(64), 0, 16, "cuIpcOpenMemHandle_v2: invalid handle"),
        (HANDLE, 1, 16, "cuDeviceGet: invalid device ordinal"),
        (HANDLE, -1, 16, "no CUDA device -1"),
        (HANDLE, 2**40, 16, "no CUDA device"),
        (HANDLE, 0, 65, "65 bytes is to lie in 64 bytes"),
        (HANDLE, 0, 0, "0 bytes is to lie in 64 bytes"),
    ],
)
def test_what_is_no_region_is_refused(handle, device_id, byte_size, why, memory, library):
    with pytest.raises(InvalidArgumentError, match=why):
        memory.register_cuda(CudaRegion("r", device_id, byte_size), handle)
    assert memory.cuda_status() == []
    assert library.opened == 0


def test_what_is_forgotten_is_closed(memory, library):
    for name in "ab":
        memory.register_cuda(CudaRegion(name, 0, 8), HANDLE)
    memory.unregister()  # the system's
    assert [region.name for region in memory.cuda_status()] == ["a", "b"]
    memory.unregister_cuda("a")
    assert library.opened == 1
    with pytest.raises(NotFoundError, match="CUDA shared memory region: 'a'"):
        memory.cuda_status("a")
    with pytest.raises(NotFoundError):
        memory.status("b")


def test_without_a_driver_the_reason_is_told():
    def absent(name):
        raise OSError(f"{name}: cannot open shared object file")

    with pytest.raises(UnimplementedError, match=r"needs a CUDA device.*libcuda\.so\.1"):
        CudaDriver(absent)


def test_without_a_driver_only_the_systems_is_offered(monkeypatch):
    def absent():
        raise UnimplementedError("no device")

    monkeypatch.setattr(shared_memory, "CudaDriver", absent)
    memory = SharedMemory(is_enabled=True)
    assert memory.extensions == ["system_shared_memory"]
    with pytest.raises(UnimplementedError):
        memory.cuda_status()
    memory.unregister_cuda()


async def test_tensors_stay_on_the_device(repository, serving, library):
    repository.add("net", affine())
    library.memory[:16] = ROW.tobytes()
    async with serving(shared_memory=True) as (_, client):
        registering = pb.CudaSharedMemoryRegisterRequest(
            name="r", raw_handle=HANDLE, device_id=0, byte_size=64
        )
        await client.inference.CudaSharedMemoryRegister(registering)
        code, _ = await status_of(client.inference.CudaSharedMemoryRegister(registering))
        assert code is grpc.StatusCode.ALREADY_EXISTS
        request = pb.ModelInferRequest(model_name="net")
        given = request.inputs.add(name="x", datatype="FP32", shape=[1, 4]).parameters
        wanted = request.outputs.add(name="y").parameters
        for parameters, offset in ((given, 0), (wanted, 32)):
            parameters["shared_memory_region"].string_param = "r"
            parameters["shared_memory_byte_size"].int64_param = 16
            parameters["shared_memory_offset"].int64_param = offset
        response = await client.inference.ModelInfer(request)
        assert response.raw_output_contents == [b""]
        written = np.frombuffer(bytes(library.memory[32:48]), np.float32)
        assert written.tolist() == [3.0, 5.0, 7.0, 9.0]  # 2 x + 1
        status = await client.inference.CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest())
        assert (status.regions["r"].device_id, status.regions["r"].byte_size) == (0, 64)
        await client.inference.CudaSharedMemoryUnregister(pb.CudaSharedMemoryUnregisterRequest())
        assert library.opened == 0
        metadata = await client.inference.ServerMetadata(pb.ServerMetadataRequest())
        assert metadata.extensions[-2:] == ["system_shared_memory", "cuda_shared_memory"]


# Another process allocates, as a handle is good everywhere but where it was made.
OWNER = """
import ctypes, struct, sys
cuda = ctypes.CDLL("libcuda.so.1")
device, context, pointer = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
handle = ctypes.create_string_buffer(64)
for status in (
    cuda.cuInit(0),
    cuda.cuDeviceGet(ctypes.byref(device), 0),
    cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
    cuda.cuCtxSetCurrent(context),
    cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(64)),
    cuda.cuMemcpyHtoD_v2(pointer, struct.pack("16f", *range(16)), ctypes.c_size_t(64)),
    cuda.cuIpcGetMemHandle(handle, pointer),
):
    assert status == 0, status
print(handle.raw.hex(), flush=True)
sys.stdin.read()
"""


@pytest.mark.cuda
def test_a_real_allocation_of_another_process():
    try:
        CudaDriver()
    except UnimplementedError as error:
        pytest.skip(str(error))
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        handle = bytes.fromhex(owner.stdout.readline())
        memory = SharedMemory(is_enabled=True)
        memory.register_cuda(CudaRegion("r", 0, 64), handle)
        read = np.frombuffer(memory.read(RegionPart("r", 0, 64)), np.float32)
        assert read.tolist() == list(range(16))
        memory.write(RegionPart("r", 4, 4), np.float32(-1).tobytes())
        assert np.frombuffer(memory.read(RegionPart("r", 0, 8)), np.float32).tolist() == [0, -1]
        memory.close()
        owner.stdin.close()
