"""tritonclient, unchanged, in a process of its own: its protobuf registers the same names."""

import asyncio
import subprocess
import sys

from onnx import TensorProto
from tests.server.example_models import write_repository
from tests.server.test_entrances import RULE, config_of, picture, pixels_as_numbers
from tests.server.tiny import BATCHING, affine, identity

SCRIPT = """
import queue
import sys
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready("net") and not client.is_model_ready("other")
assert client.get_server_metadata().name == "eyespot"
metadata = client.get_model_metadata("net")
assert list(metadata.inputs[0].shape) == [-1, 4] and metadata.inputs[0].datatype == "FP32"
assert client.get_model_config("net").config.max_batch_size == 8
assert client.get_model_repository_index().models[0].state == "READY"

rows = np.arange(8, dtype=np.float32).reshape(2, 4)
given = triton.InferInput("x", rows.shape, "FP32")
given.set_data_from_numpy(rows)
result = client.infer("net", [given], outputs=[triton.InferRequestedOutput("y")], request_id="7")
assert result.get_response().id == "7"
np.testing.assert_array_equal(result.as_numpy("y"), 2 * rows + 1)
np.testing.assert_array_equal(client.infer("net", [given]).as_numpy("y"), 2 * rows + 1)

best = client.infer("net", [given], outputs=[triton.InferRequestedOutput("y", class_count=1)])
assert best.as_numpy("y").tolist() == [[b"7.000000:3"], [b"15.000000:3"]]

answers = queue.Queue()
client.start_stream(lambda result, error: answers.put((result, error)))
for number in range(3):
    client.async_stream_infer("net" if number != 1 else "nix", [given], request_id=str(number))
found = [answers.get() for _ in range(3)]
client.stop_stream()
assert [error is None for _, error in found] == [True, False, True]
assert "unknown model" in str(found[1][1])
assert [found[n][0].get_response().id for n in (0, 2)] == ["0", "2"]
np.testing.assert_array_equal(found[2][0].as_numpy("y"), 2 * rows + 1)

texts = np.array([["a", "\\u00e9"]], object)
given = triton.InferInput("x", texts.shape, "BYTES")
given.set_data_from_numpy(texts)
assert client.infer("text", [given]).as_numpy("y").tolist() == [[b"a", b"\\xc3\\xa9"]]

metadata = client.get_model_metadata("seeing_image")
(given,) = metadata.inputs
assert (given.name, given.datatype, list(given.shape)) == ("image", "BYTES", [-1, 1])
assert client.get_model_config("seeing_image").config.max_batch_size == 8
files = np.array([[open(sys.argv[2], "rb").read()]] * 2, object)
pictures = triton.InferInput(given.name, files.shape, given.datatype)
pictures.set_data_from_numpy(files)
assert client.infer("seeing_image", [pictures]).as_numpy("y").shape == (2, 4, 4, 3)
assert client.get_inference_statistics("seeing_image").model_stats[0].inference_count == 2

statistics = client.get_inference_statistics("net").model_stats[0]
assert statistics.inference_count == 10 and statistics.inference_stats.success.count == 5

for name, shape, datatype, expected in [
    ("z", (1, 4), "FP32", ["'z'", "'x'"]),
    ("x", (1, 5), "FP32", ["Expected [-1,4], got [1,5]"]),
    ("x", (1, 4), "INT32", ["'INT32'", "'FP32'"]),
]:
    given = triton.InferInput(name, shape, datatype)
    given.set_data_from_numpy(np.zeros(shape, "i4" if datatype == "INT32" else "f4"))
    try:
        client.infer("net", [given])
    except InferenceServerException as error:
        assert error.status() == "StatusCode.INVALID_ARGUMENT", error
        assert all(text in error.message() for text in expected), error
    else:
        raise AssertionError(f"{name} {shape} {datatype} was accepted")
try:
    client.infer("other", [given])
except InferenceServerException as error:
    assert error.status() == "StatusCode.NOT_FOUND", error
print("all calls did what they should")
"""


# What the example programs of Triton's client do, in our words.
EXAMPLES = """
import asyncio
import sys
import threading
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

ADDRESS = sys.argv[1]
FIRST, SECOND = np.arange(16, dtype=np.int32)[None], np.ones((1, 16), np.int32)


def inputs_of(datatype="INT32", first=FIRST, second=SECOND):
    made = []
    for name, array in (("INPUT0", first), ("INPUT1", second)):
        made.append(triton.InferInput(name, array.shape, datatype))
        made[-1].set_data_from_numpy(array)
    return made


def check(result):
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), FIRST + SECOND)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), FIRST - SECOND)


def refused(call, *texts):
    try:
        call()
    except InferenceServerException as error:
        assert all(text in error.message() for text in texts), error
    else:
        raise AssertionError(texts)


client = triton.InferenceServerClient(ADDRESS)
assert client.is_server_live(headers={"test": "1"}) and client.is_model_ready("simple")
assert client.get_server_metadata().name == "triton"
refused(lambda: client.get_model_metadata("wrong"), "Request for unknown model")
check(client.infer("simple", inputs_of(), headers={"test": "1"}))
for algorithm in ("gzip", "deflate"):
    check(client.infer("simple", inputs_of(), compression_algorithm=algorithm))
check(client.infer("simple", inputs_of(), timeout=60_000_000, priority=1, client_timeout=60))

done, answers = threading.Event(), []
def called_back(result, error):
    answers.append((result, error))
    done.set()
client.async_infer("simple", inputs_of(), called_back)
assert done.wait(60) and answers[0][1] is None
check(answers[0][0])

for options in (
    {"keepalive_options": triton.KeepAliveOptions(keepalive_time_ms=2**31 - 1)},
    {"channel_args": [("grpc.max_send_message_length", 2**20), ("grpc.dns_enable_srv_queries", 1)]},
):
    with triton.InferenceServerClient(ADDRESS, **options) as other:
        check(other.infer("simple", inputs_of()))

texts = [np.vectorize(lambda n: str(n).encode(), [object])(a) for a in (FIRST, SECOND)]
found = client.infer("simple_string", inputs_of("BYTES", *texts)).as_numpy("OUTPUT1")
assert found.tolist() == [[str(n).encode() for n in range(-1, 15)]]
for raw in (np.array([[b"he\\0llo"] * 3], object), np.array([[b"\\0\\1\\2\\3"]], np.bytes_)):
    given = triton.InferInput("INPUT0", raw.shape, "BYTES")
    given.set_data_from_numpy(raw)
    found = client.infer("simple_identity", [given]).as_numpy("OUTPUT0")
    assert found.tolist() == raw.tolist(), found

request = service_pb2.ModelInferRequest(model_name="simple_int8")
for name, values in (("INPUT0", range(16)), ("INPUT1", [1] * 16)):
    tensor = request.inputs.add(name=name, datatype="INT8", shape=[1, 16])
    tensor.contents.int_contents.extend(values)
stub = client._client_stub
raw = stub.ModelInfer(request).raw_output_contents
assert np.frombuffer(raw[0], np.int8).tolist() == list(range(1, 17))
for change, text in (
    (lambda: request.raw_input_contents.append(b"1234"),
     "contents field must not be specified when using raw_input_contents for 'INPUT0' for model"),
    (lambda: setattr(request, "model_version", "newest"),
     "failed to get model version from specified version string 'newest'"),
):
    change()
    try:
        stub.ModelInfer(request)
    except Exception as error:
        assert text in str(error), error
    else:
        raise AssertionError(text)

picture = triton.InferInput("input", (1, 299, 299, 3), "FP32")
picture.set_data_from_numpy(np.ones((1, 299, 299, 3), np.float32))
wanted = triton.InferRequestedOutput("InceptionV3/Predictions/Softmax", class_count=3)
best = client.infer("inception_graphdef", [picture], outputs=[wanted])
for text in best.as_numpy("InceptionV3/Predictions/Softmax")[0]:
    score, index, label = text.decode().split(":")
    assert label == f"class {index}"

client.unregister_system_shared_memory()
client.unregister_cuda_shared_memory()
assert len(client.get_model_repository_index().models) == 8
refused(lambda: client.load_model("simple", config='"max_batch_size": 16'), "failed to load")
client.load_model("simple", config='{"max_batch_size": "16"}')
assert client.get_model_config("simple").config.max_batch_size == 16
client.unload_model("simple")
assert not client.is_model_ready("simple")
refused(lambda: client.load_model("wrong"), "failed to load")
client.load_model("simple")

settings = client.update_log_settings({"log_verbose_level": 1, "log_format": "json"}, as_json=True)
assert settings["settings"]["log_verbose_level"]["uint32_param"] == 1, settings
assert client.get_log_settings(as_json=True) == settings
client.update_log_settings({"log_verbose_level": 0})
settings = client.update_trace_settings("simple", {"trace_rate": "7", "trace_level": ["OFF"]})
assert list(settings.settings["trace_rate"].value) == ["7"]
client.update_trace_settings("simple", {"trace_rate": None})
assert list(client.get_trace_settings("simple").settings["trace_rate"].value) == ["1"]


async def asynchronously():
    async with triton_aio.InferenceServerClient(ADDRESS) as client:
        assert await client.is_server_ready()
        check(await client.infer("simple", inputs_of()))

        async def requests():
            for number in range(3):
                yield {"model_name": "simple", "inputs": inputs_of(), "request_id": str(number)}

        ids = []
        async for result, error in client.stream_infer(requests()):
            assert error is None, error
            check(result)
            ids.append(result.get_response().id)
        assert ids == ["0", "1", "2"]


asyncio.run(asynchronously())
print("all calls did what they should")
"""


async def _run(script, address, *words):
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script, address, *words],
        capture_output=True,
        text=True,
    )
    assert ended.stdout == "all calls did what they should\n", ended.stderr


async def test_tritonclient_makes_its_calls_unchanged(repository, serving, tmp_path):
    repository.add("seeing", pixels_as_numbers(), config=config_of(RULE))
    picture().save(tmp_path / "picture.jpg")
    repository.add("net", affine(), config=BATCHING.format(rows=8, options=""))
    repository.add("text", identity(TensorProto.STRING, ["batch", 2]))
    async with serving() as (server, _):
        await _run(SCRIPT, server.address, str(tmp_path / "picture.jpg"))


async def test_what_the_example_programs_do(repository, serving):
    write_repository(repository.path)
    async with serving(
        server_id="triton",
        shared_memory=True,
        model_control_mode="explicit",
        load_model="*",
        settings_calls=True,
    ) as (server, _):
        await _run(EXAMPLES, server.address)
