"""ONNX's own models: each is served equal to ONNX Runtime in process, or says why it is not.

The cases of one operator each come with their inputs; the light networks (well-known
classifiers whose weights are made on the spot) get noise.
"""

import re
from pathlib import Path

import grpc
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.backend.test.case.node import collect_testcases
from tests.server.tiny import read_outputs

from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.tensors import DATATYPES, datatype_from_onnx, datatype_of, encode

pytestmark = pytest.mark.giant

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
# Why a model is not served that ONNX Runtime can open.
CANNOT_BE_CARRIED = r"is of ONNX type (seq|optional|map|tensor\((u?int[24]|float8|complex))"


def open_quietly(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception:  # the runtime's errors have no class of their own in common
        return None


def in_process(session, feed):
    """What ONNX Runtime answers, by name; None when it refuses."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    try:
        answers = session.run(None, feed, options)
    except Exception:
        return None
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(np.asarray, answers), strict=True))


async def served(client, name, feed):
    request = pb.ModelInferRequest(model_name=name)
    for key, array in feed.items():
        datatype = "BYTES" if array.dtype == object else datatype_of(array.dtype)
        request.inputs.add(name=key, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(encode(array, datatype))
    try:
        return read_outputs(await client.inference.ModelInfer(request))
    except grpc.aio.AioRpcError:
        return None


def as_array(value):
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value)


def as_bytes(array):
    if array.dtype.kind not in "OUS":
        return array
    texts = np.empty(array.size, object)
    texts[:] = [text if isinstance(text, bytes) else str(text).encode() for text in array.ravel()]
    return texts.reshape(array.shape)


def assert_equal(found, expected, name):
    assert (found is None) == (expected is None), name
    if found is None:
        return
    assert found.keys() == expected.keys(), name
    for key, array in found.items():
        wanted = as_bytes(expected[key])
        assert (array.shape, array.dtype) == (wanted.shape, wanted.dtype), name
        same = np.array_equal(array, wanted, equal_nan=array.dtype.kind == "f")
        assert same, f"{name} differs in {key}"


async def check(repository, serving, cases):
    for name, model, _ in cases:
        repository.add(name, model)
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    reasons = {}
    async with serving(explain="off") as (server, client):
        entries = {entry.model_name: entry for entry in server.dataplane.index()}
        async with grpc.aio.insecure_channel(client.address, options=options) as channel:
            own = type(client)(channel, client.address)
            for name, model, arrays in cases:
                session = open_quietly(model.SerializeToString())
                if entries[name].state.value != "READY":
                    reason = entries[name].reason
                    assert session is None or re.search(CANNOT_BE_CARRIED, reason), (name, reason)
                    reasons[name] = reason
                    continue
                assert session is not None
                nodes = [*session.get_inputs(), *session.get_outputs()]
                if any(node.type == "tensor(bfloat16)" for node in nodes):
                    continue  # NumPy has none, so the runtime cannot be asked in process
                names = [node.name for node in session.get_inputs()]
                feed = dict(zip(names, map(as_array, arrays), strict=False))
                assert_equal(await served(own, name, feed), in_process(session, feed), name)
    return reasons


def node_cases():
    for case in collect_testcases(None):
        if case.data_sets:
            yield re.sub(r"\W", "_", case.name), case.model, case.data_sets[0][0]


def light_cases():
    generator = np.random.default_rng(0)
    for path in sorted(LIGHT.glob("*.onnx")):
        model = onnx.load(path)
        session = open_quietly(model.SerializeToString())
        arrays = []
        for node in session.get_inputs():
            shape = [size if isinstance(size, int) else 1 for size in node.shape]
            dtype = DATATYPES[datatype_from_onnx(node.type).name].numpy
            arrays.append(generator.standard_normal(shape).astype(dtype))
        yield path.stem, model, arrays


@pytest.mark.filterwarnings("ignore")  # ONNX divides by zero to see what comes of it
async def test_every_case_of_one_operator(repository, serving):
    cases = list(node_cases())
    reasons = await check(repository, serving, cases)
    assert len(cases) - len(reasons) > 1500


async def test_the_light_networks(repository, serving):
    cases = list(light_cases())
    assert len(cases) > 5
    assert await check(repository, serving, cases) == {}
