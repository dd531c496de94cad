"""Tensors in POSIX shared memory: in, out, and everything that must not be."""

import asyncio
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
from onnx import TensorProto
from tests.server.tiny import affine, identity, infer_request, read_outputs, status_of

from eyespot.server import shared_memory
from eyespot.server.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError
from eyespot.server.shared_memory import Region, RegionPart, SharedMemory
from eyespot.v1 import inference_pb2 as pb

pytestmark = pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs /dev/shm")
ROW = np.float32([[1, 2, 3, 4]])
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
def shm_object(request):
    """A shared memory object of 64 bytes: 0, 1, 2 ..."""
    path = Path("/dev/shm") / f"eyespot-test-{request.node.name}-{id(request)}"
    path.write_bytes(bytes(range(64)))
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def memory():
    memory = SharedMemory(is_enabled=True)
    yield memory
    memory.close()


def test_a_region_is_read_and_written_where_it_lies(memory, shm_object):
    memory.register(Region("r", f"/{shm_object.name}", offset=8, byte_size=16))
    assert memory.read(RegionPart("r", offset=4, byte_size=3)) == bytes([12, 13, 14])
    memory.write(RegionPart("r", offset=0, byte_size=16), b"\xff\xfe")
    assert shm_object.read_bytes()[7:11] == b"\x07\xff\xfe\x0a"


@pytest.mark.parametrize(
    ("offset", "byte_size"),
    [(0, 17), (16, 1), (-1, 2), (2, -1), (2**62, 2**62), (2**63 - 1, 1)],
)
def test_nothing_beyond_a_region_is_reached(memory, shm_object, offset, byte_size):
    memory.register(Region("r", shm_object.name, offset=8, byte_size=16))
    part = RegionPart("r", offset, byte_size)
    for use in (memory.check, memory.read, lambda part: memory.write(part, b"")):
        with pytest.raises(InvalidArgumentError, match="'r' has 16 bytes"):
            use(part)


@pytest.mark.parametrize(("offset", "byte_size"), [(0, 65), (64, 1), (0, 0), (2**63, 2**63)])
def test_a_region_lies_within_its_object(memory, shm_object, offset, byte_size):
    with pytest.raises(InvalidArgumentError, match="has 64"):
        memory.register(Region("r", shm_object.name, offset, byte_size))
    assert memory.status() == []


@pytest.mark.parametrize(
    "key", ["", "/", "..", "../passwd", "/../etc/passwd", "a/b", "/absent", "a\0b"]
)
def test_only_objects_can_be_opened(memory, key):
    with pytest.raises(InvalidArgumentError, match=r"key|Unable to open"):
        memory.register(Region("r", key, 0, 1))


def test_objects_of_other_programs_are_out_of_reach(shm_object):
    memory = SharedMemory(is_enabled=True, prefix="/eyespot-test-")
    memory.register(Region("r", shm_object.name, 0, 1))
    memory.close()
    memory = SharedMemory(is_enabled=True, prefix="cameras-")
    for key in (shm_object.name, f"/{shm_object.name}", "/absent"):
        with pytest.raises(InvalidArgumentError, match="begin with 'cameras-'"):
            memory.register(Region("r", key, 0, 1))


def test_regions_and_their_names_are_bounded(memory, shm_object, monkeypatch):
    monkeypatch.setattr(shared_memory, "_MOST_REGIONS", 2)
    with pytest.raises(InvalidArgumentError, match="at most 255"):
        memory.register(Region("r" * 256, shm_object.name, 0, 1))
    for name in "ab":
        memory.register(Region(name, shm_object.name, 0, 1))
    with pytest.raises(ResourceExhaustedError):
        memory.register(Region("c", shm_object.name, 0, 1))
    memory.unregister("a")
    memory.register(Region("c", shm_object.name, 0, 1))


def test_a_link_is_not_followed(memory, shm_object, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    link = shm_object.with_name(f"{shm_object.name}-link")
    link.symlink_to(secret)
    try:
        with pytest.raises(InvalidArgumentError, match="Unable to open"):
            memory.register(Region("r", link.name, 0, 6))
    finally:
        link.unlink()


def test_an_object_that_is_shortened_is_an_error_and_no_end(memory, shm_object):
    memory.register(Region("r", shm_object.name, 0, 64))
    with shm_object.open("r+b") as file:
        file.truncate(10)
    with pytest.raises(InvalidArgumentError, match="has become too short"):
        memory.read(RegionPart("r", 0, 64))


def test_what_does_not_fit_is_not_written(memory, shm_object):
    memory.register(Region("r", shm_object.name, 0, 64))
    with pytest.raises(InvalidArgumentError, match="has 2 bytes and should be at least 3"):
        memory.write(RegionPart("r", 0, 2), b"abc")
    assert shm_object.read_bytes()[:3] == bytes([0, 1, 2])


def test_what_is_forgotten_is_closed(memory, shm_object):
    for name in ("a", "b"):
        memory.register(Region(name, shm_object.name, 0, 8))
    assert [region.name for region in memory.status()] == ["a", "b"]
    memory.unregister("a")
    memory.unregister("a")
    with pytest.raises(NotFoundError, match="'a'"):
        memory.status("a")
    memory.unregister()
    assert memory.status() == []


def put(tensor, region, byte_size, offset=0):
    tensor.parameters["shared_memory_region"].string_param = region
    tensor.parameters["shared_memory_byte_size"].int64_param = byte_size
    if offset:
        tensor.parameters["shared_memory_offset"].int64_param = offset


async def register(client, shm_object, name="r"):
    request = pb.SystemSharedMemoryRegisterRequest(
        name=name, key=f"/{shm_object.name}", offset=0, byte_size=64
    )
    await client.inference.SystemSharedMemoryRegister(request)


async def test_tensors_stay_out_of_the_messages(repository, serving, shm_object):
    repository.add("net", affine())
    shm_object.write_bytes(ROW.tobytes() + bytes(48))
    async with serving(shared_memory=True) as (_, client):
        await register(client, shm_object)
        code, told = await status_of(register(client, shm_object))
        assert code is grpc.StatusCode.ALREADY_EXISTS
        assert "unregister it first" in told
        request = pb.ModelInferRequest(model_name="net")
        put(request.inputs.add(name="x", datatype="FP32", shape=[1, 4]), "r", 16)
        put(request.outputs.add(name="y"), "r", 20, offset=32)
        response = await client.inference.ModelInfer(request)
        assert response.raw_output_contents == [b""]
        told = response.outputs[0].parameters
        assert told["shared_memory_region"].string_param == "r"
        assert told["shared_memory_byte_size"].int64_param == 16
        written = np.frombuffer(shm_object.read_bytes()[32:48], np.float32)
        assert written.tolist() == [3.0, 5.0, 7.0, 9.0]
        status = await client.inference.SystemSharedMemoryStatus(
            pb.SystemSharedMemoryStatusRequest()
        )
        assert status.regions["r"].byte_size == 64


async def test_one_input_in_shared_memory_and_one_in_the_message(repository, serving, shm_object):
    repository.add("net", affine())
    shm_object.write_bytes(ROW.tobytes() + bytes(48))
    async with serving(shared_memory=True) as (_, client):
        await register(client, shm_object)
        request = infer_request("net", x=ROW)
        put(request.inputs[0], "r", 16)
        code, told = await status_of(client.inference.ModelInfer(request))
        assert code is INVALID
        assert "expected 0 raw_input_contents" in told
        for region, byte_size, why in (
            ("r", 12, "FP32 of shape [1, 4] takes 16 bytes, found 12"),
            ("r", 65, "Invalid offset + byte size"),
            ("s", 16, "Unable to find shared memory region: 's'"),
        ):
            request = pb.ModelInferRequest(model_name="net")
            put(request.inputs.add(name="x", datatype="FP32", shape=[1, 4]), region, byte_size)
            code, told = await status_of(client.inference.ModelInfer(request))
            assert code is INVALID
            assert why in told
        # The server is as it was.
        assert (await client.infer("net", x=ROW))["y"][0, 0] == 3.0


async def test_it_is_off_unless_switched_on(repository, serving, shm_object):
    repository.add("net", affine())
    async with serving() as (_, client):
        code, told = await status_of(register(client, shm_object))
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert "--shared-memory" in told
        request = pb.ModelInferRequest(model_name="net")
        put(request.inputs.add(name="x", datatype="FP32", shape=[1, 4]), "r", 16)
        code, told = await status_of(client.inference.ModelInfer(request))
        assert code is grpc.StatusCode.UNIMPLEMENTED
        metadata = await client.inference.ServerMetadata(pb.ServerMetadataRequest())
        assert "system_shared_memory" not in metadata.extensions
        code, told = await status_of(
            client.inference.CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest())
        )
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert "--shared-memory" in told


SCRIPT = """
import sys
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import shared_memory as shm

client = triton.InferenceServerClient(sys.argv[1])
assert "system_shared_memory" in client.get_server_metadata().extensions
rows = np.arange(8, dtype=np.float32).reshape(2, 4)
texts = np.array([[b"a", b"longer"]], object)
handle = shm.create_shared_memory_region("in", "/" + sys.argv[2], 256)
try:
    client.register_system_shared_memory("in", "/" + sys.argv[2], 256)
    assert list(client.get_system_shared_memory_status().regions) == ["in"]

    shm.set_shared_memory_region(handle, [rows])
    given = triton.InferInput("x", rows.shape, "FP32")
    given.set_shared_memory("in", rows.nbytes)
    wanted = triton.InferRequestedOutput("y")
    wanted.set_shared_memory("in", rows.nbytes, offset=128)
    result = client.infer("net", [given], outputs=[wanted])
    output = result.get_output("y")
    found = shm.get_contents_as_numpy(handle, np.float32, list(output.shape), offset=128)
    np.testing.assert_array_equal(found, 2 * rows + 1)

    given = triton.InferInput("x", texts.shape, "BYTES")
    raw = triton.InferInput("x", texts.shape, "BYTES")
    raw.set_data_from_numpy(texts)
    size = len(raw._get_content())
    shm.set_shared_memory_region(handle, [np.frombuffer(raw._get_content(), np.uint8)])
    given.set_shared_memory("in", size)
    assert client.infer("text", [given]).as_numpy("y").tolist() == texts.tolist()

    client.unregister_system_shared_memory("in")
    assert not client.get_system_shared_memory_status().regions
finally:
    shm.destroy_shared_memory_region(handle)
print("all calls did what they should")
"""


async def test_tritonclient_hands_over_shared_memory(repository, serving):
    repository.add("net", affine())
    repository.add("text", identity(TensorProto.STRING, ["batch", 2]))
    async with serving(shared_memory=True) as (server, _):
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", SCRIPT, server.address, f"eyespot-test-{server.port}"],
            capture_output=True,
            text=True,
        )
    assert ended.stdout == "all calls did what they should\n", ended.stderr


async def test_answers_in_the_message_are_as_before(repository, serving):
    repository.add("net", affine())
    async with serving(shared_memory=True) as (_, client):
        response = await client.inference.ModelInfer(infer_request("net", x=ROW))
    assert read_outputs(response)["y"].tolist() == [[3.0, 5.0, 7.0, 9.0]]
