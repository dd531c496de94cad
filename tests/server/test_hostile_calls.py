"""Calls that nobody sends by accident: each is refused by name, and the server serves on."""

import asyncio
import gzip
import logging
import re
import struct
from pathlib import Path

import grpc
import numpy as np
import pytest
from onnx import TensorProto
from tests.server.raw_http2 import GOAWAY, PING, SETTINGS, connect, frame, frames, packed_call
from tests.server.tiny import FLOAT, affine, identity, infer_request, status_of

from eyespot.server.logs import TextFormatter
from eyespot.v1 import explain_pb2
from eyespot.v1 import inference_pb2 as pb

ROW = np.float32([[1, 2, 3, 4]])
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
MOST = 2**63 - 1


@pytest.fixture
def models(repository):
    repository.add("rows", affine())
    free = "max_batch_size: 0\n"
    repository.add("free", identity(FLOAT, ["a", "b", "c"]), config=free)
    repository.add("text", identity(TensorProto.STRING, ["batch", 2]))


def _request(model_name, shape, raw, datatype="FP32"):
    request = pb.ModelInferRequest(model_name=model_name, raw_input_contents=[raw])
    request.inputs.add(name="x", datatype=datatype, shape=shape)
    return request


SHAPES = [
    ("rows", [MOST, 4], b""),
    ("rows", [-1, 4], b""),
    ("rows", [-MOST - 1, 4], b""),
    ("rows", [1, -4], b""),
    ("rows", [0, 4], b""),
    ("rows", [1], b"\0" * 16),
    ("rows", [1] * 1000, b"\0" * 16),
    ("rows", [2, 4], b"\0" * 16),  # of one row
    ("rows", [1, 4], b"\0" * 17),
    ("rows", [1, 4], b""),
    ("free", [2**32, 2**32, 1], b""),  # multiplied in 64 bits: 0
    ("free", [2**31, 2**31, 4], b""),
    ("free", [2**62, 2, 2], b"\0" * 16),
    ("free", [MOST, MOST, MOST], b"\0" * 4),
    ("free", [-1, -1, 1], b"\0" * 4),  # multiplied: 1
    ("free", [-2, -2, 1], b"\0" * 16),
    ("free", [0, 1, 1], b""),
]


async def test_shapes_that_overflow_or_do_not_match_their_bytes(models, serving):
    async with serving() as (_, client):
        for name, shape, raw in SHAPES:
            call = client.inference.ModelInfer(_request(name, shape, raw))
            code, details = await status_of(call)
            assert (code, "input 'x'" in details) == (INVALID, True), (name, shape, details)
            typed = _request(name, shape, b"")
            del typed.raw_input_contents[:]
            typed.inputs[0].contents.fp32_contents.append(0)
            code, _ = await status_of(client.inference.ModelInfer(typed))
            assert code is INVALID, (name, shape)
        assert (await client.infer("rows", x=ROW))["y"].tolist() == [[3, 5, 7, 9]]


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack("<I", 2**32 - 1),
        struct.pack("<I", 2**31) + b"a" * 8,
        struct.pack("<I", 5) + b"abcd",
        b"\1\0\0",
        struct.pack("<I", 0),  # one of two
        struct.pack("<III", 0, 0, 0),  # three of two
        struct.pack("<II", 0, 0) + b"x",
    ],
)
async def test_strings_whose_lengths_leave_the_message(models, serving, raw):
    async with serving() as (_, client):
        request = _request("text", [1, 2], raw, "BYTES")
        code, details = await status_of(client.inference.ModelInfer(request))
        assert code is INVALID
        assert "input 'x'" in details


async def test_nan_and_infinity_are_numbers_to_a_model(models, serving):
    row = np.float32([[np.nan, np.inf, -np.inf, 0]])
    async with serving() as (_, client):
        answer = (await client.infer("rows", x=row))["y"]
    np.testing.assert_array_equal(answer, np.float32([[np.nan, np.inf, -np.inf, 1]]))


def _peak_mib(*, forget=False):
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


async def test_a_message_that_unpacks_to_too_much_is_refused_before_memory_is_spent(
    models, serving
):
    packed = gzip.compress(bytes(60 << 20))
    assert len(packed) < 65535  # what may be sent without waiting for the server
    async with serving(max_request_mib=1) as (server, client):
        before = _peak_mib(forget=True)
        path = "/inference.GRPCInferenceService/ModelInfer"
        answer = await asyncio.to_thread(packed_call, server.port, path, packed)
        assert b"grpc-status\x018" in answer  # RESOURCE_EXHAUSTED
        assert _peak_mib() - before < 20
        assert (await client.infer("rows", x=ROW))["y"].tolist() == [[3, 5, 7, 9]]


NAMES = [
    "a\nb",
    "a\0b",
    "\x1b[2J",
    "../rows",
    "rows/../rows",
    "/etc",
    ".",
    "..",
    "",
    "rows/",
    "rows/1",
    "\u202erows",
    "x" * 300,
    "x" * 100_000,
]


async def test_names_that_are_no_folder_are_no_models(models, serving):
    load, unload = pb.RepositoryModelLoadRequest, pb.RepositoryModelUnloadRequest
    async with serving(model_control_mode="explicit", load_model="*") as (_, client):
        for name in NAMES:
            calls = {
                "load": client.inference.RepositoryModelLoad(load(model_name=name)),
                "unload": client.inference.RepositoryModelUnload(unload(model_name=name)),
                "infer": client.inference.ModelInfer(pb.ModelInferRequest(model_name=name)),
                "version": client.inference.ModelInfer(
                    pb.ModelInferRequest(model_name="rows", model_version=name or "../1")
                ),
                "explain": client.explain.Explain(explain_pb2.ExplainRequest(model_name=name)),
            }
            for verb, call in calls.items():
                code, details = await status_of(call)
                assert code in (
                    grpc.StatusCode.FAILED_PRECONDITION,
                    NOT_FOUND,
                    INVALID,
                    grpc.StatusCode.UNIMPLEMENTED,
                    grpc.StatusCode.UNAVAILABLE,
                ), (verb, name[:20], code, details)
                assert len(details) <= 2000
        assert (await client.infer("rows", x=ROW))["y"].tolist() == [[3, 5, 7, 9]]


async def test_more_tensors_than_the_model_takes(models, serving):
    request = pb.ModelInferRequest(model_name="rows")
    for number in range(20_000):
        request.inputs.add(name=f"x{number}", datatype="FP32", shape=[1, 4])
    async with serving() as (_, client):
        code, details = await status_of(client.inference.ModelInfer(request))
        assert (code, len(details) <= 2000) == (INVALID, True)
        request = infer_request("rows", x=ROW)
        for _ in range(20_000):
            request.outputs.add(name="y")
        code, details = await status_of(client.inference.ModelInfer(request))
        assert (code, len(details) <= 2000) == (INVALID, True)


async def test_metadata_is_bounded(models, serving):
    async with serving() as (_, client):
        request = infer_request("rows", x=ROW)
        await client.inference.ModelInfer(request, metadata=[("x", "y" * 10_000)])
        code, _ = await status_of(
            client.inference.ModelInfer(request, metadata=[("x", "y" * 20_000)])
        )
        assert code is EXHAUSTED


def test_a_log_line_stays_one_line_whatever_it_quotes():
    record = logging.makeLogRecord(
        {"msg": "no model '%s'", "args": ("a\n2026 INFO forged\x1b[2J",), "name_": "b\r\nc"}
    )
    line = TextFormatter().format(record)
    assert "no model 'a\\x0a2026 INFO forged\\x1b[2J'" in line
    assert line.endswith("name_=b\\x0d\\x0ac")


async def test_who_pings_without_pause_is_cut_off_and_streams_are_bounded(models, serving):
    enhance_your_calm, max_concurrent_streams = 11, 3

    def abuse(port):
        with connect(port) as connection:
            connection.sendall(frame(PING, bytes(8)) * 50)
            return list(frames(connection))

    async with serving(max_concurrent_streams=7) as (server, _):
        answers = await asyncio.to_thread(abuse, server.port)
    (first, *_) = (payload for kind, _, payload in answers if kind == SETTINGS)
    assert dict(struct.iter_unpack(">HI", first))[max_concurrent_streams] == 7
    (last,) = (payload for kind, _, payload in answers if kind == GOAWAY)
    assert struct.unpack(">II", last[:8])[1] == enhance_your_calm
