"""A small box: what a server that serves tensors alone never loads, and that it calls nobody."""

import os
import shutil
import subprocess
import sys

import pytest
from tests.server.test_entrances import RULE, config_of, pixels_as_numbers

# What a model is loaded with needs none of these, and each takes as long to import as a small one.
NEVER_BEFORE_MODELS_LOAD = {"asyncio", "difflib", "grpc", "grpc_health", "ssl", "tempfile"}
# Each of them takes memory and time at every start, for what most servers never do.
NEVER_FOR_TENSORS = {
    "PIL",
    "email",
    "grpc_reflection.v1alpha",
    "importlib.metadata",
    "matplotlib",
    "onnx",
    "opentelemetry",
    "prometheus_client",
    "rich",
    "torch",
    "torchvision",
    "unittest",
}
# All that is loaded by the first answer; it was 503. What `python -X importtime` would tell of it
# in time is the machine's, and held against a bare script by `make bench-edge`.
MOST_MODULES = 530
# Serves, answers a row of pixels, and tells what was loaded by then. An audit hook hears of every
# socket before it is connected, of every name that is looked up, and of every program started.
PROGRAM = """
import asyncio
import fcntl
import socket
import struct
import sys
from pathlib import Path

if sys.argv[2:]:  # a network of its own: switch its loopback on, the only interface that it has
    interfaces = [name for _, name in socket.if_nameindex()]
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))  # SIOCSIFFLAGS, up
    assert interfaces == ["lo"], interfaces

called = []

def hear(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        if not str(arguments[1][0]).startswith(("127.", "::1")):
            called.append(f"{event} {arguments[1]}")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        if arguments[0] not in ("127.0.0.1", b"127.0.0.1", "localhost", None):
            called.append(f"{event} {arguments[0]}")
    elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"):
        called.append(f"{event} {arguments[0]}")

sys.addaudithook(hear)

import grpc

from eyespot.cli.main import main
from eyespot.server.app import Server
from eyespot.server.config import ServerConfig
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.services import InferenceStub

async def serve():
    settings = {"repository": Path(sys.argv[1]), "port": 0, "model_cache": "off"}
    server = Server(ServerConfig(**settings))
    await server.start()
    await server.load()
    async with grpc.aio.insecure_channel(server.address) as channel:
        request = pb.ModelInferRequest(model_name="seeing")
        request.inputs.add(name="x", datatype="UINT8", shape=(1, 4, 4, 3))
        request.raw_input_contents.append(bytes(48))
        answer = await InferenceStub(channel).ModelInfer(request)
    assert answer.raw_output_contents == [bytes(4 * 48)]
    await server.stop()

asyncio.run(serve())
print(*sorted(sys.modules))
print(*called)
"""


# The process in a network namespace of its own, which leads nowhere.
_CUT_OFF = ["unshare", "--user", "--map-root-user", "--net"]


def _may_cut_the_network() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_CUT_OFF, "true"], capture_output=True).returncode == 0


@pytest.fixture
def started(repository):
    """The modules that a start has loaded, and the calls to the outside that it tried."""
    repository.add("seeing", pixels_as_numbers(), config=config_of(RULE))
    command = [sys.executable, "-c", PROGRAM, repository.path]
    if _may_cut_the_network():
        command = [*_CUT_OFF, *command, "cut off"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    modules, called = ran.stdout.splitlines()
    return set(modules.split()), called


def test_a_start_loads_only_what_it_needs_and_calls_nobody(started):
    modules, called = started
    assert called == ""
    assert modules & NEVER_FOR_TENSORS == set()
    assert {"onnxruntime", "grpc", "numpy"} <= modules
    assert len(modules) <= MOST_MODULES


# Ends where models would begin to load, and tells what was loaded and how many threads there are.
BEGINNING = """
import os
import sys
import types

def begin(settings, threads, *, hash_of, **_):
    print(len(os.listdir("/proc/self/task")), os.environ.get("OPENBLAS_NUM_THREADS"))
    if graph := next(settings.repository.glob("*/*/model.onnx"), None):
        print(hash_of(graph))
    del sys.modules["eyespot.server.first_loads"]
    import eyespot.server.first_loads
    print(*sorted(sys.modules))
    raise eyespot.server.first_loads.StartError("enough")

stand_in = sys.modules["eyespot.server.first_loads"] = types.ModuleType("first_loads")
stand_in.begin_first_loads = begin

from eyespot.cli.main import main
sys.exit(main(["serve", sys.argv[1]]))
"""


def _begin(repository, environment):
    command = [sys.executable, "-c", BEGINNING, repository]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (ran.returncode, "enough" in ran.stderr) == (1, True), ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.parametrize("told", [None, "1"])
def test_models_begin_to_load_before_grpc_is_imported(tmp_path, told):
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    if told is not None:
        environment["OPENBLAS_NUM_THREADS"] = told
    rest, modules = _begin(tmp_path, environment)
    assert set(modules.split()) & NEVER_BEFORE_MODELS_LOAD == set()
    assert rest == f"1 {told}"  # NumPy has started no thread, and left no variable


def test_graphs_are_hashed_before_what_loads_them_is_imported(tmp_path):
    graph = tmp_path / "model" / "1" / "model.onnx"
    graph.parent.mkdir(parents=True)
    graph.write_bytes(b"abc")
    rest, sha256, _ = _begin(tmp_path, os.environ)
    assert rest.startswith("2 ")  # a thread beside this one has done it
    assert sha256.startswith("ba7816bf8f01cfea")  # FIPS 180-4's first example
