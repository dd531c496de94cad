"""tritonclient, unchanged, in a process of its own: its protobuf registers the same names."""

import asyncio
import subprocess
import sys

from onnx import TensorProto
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


async def test_tritonclient_makes_its_calls_unchanged(repository, serving):
    repository.add("net", affine(), config=BATCHING.format(rows=8, options=""))
    repository.add("text", identity(TensorProto.STRING, ["batch", 2]))
    async with serving() as (server, _):
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", SCRIPT, server.address],
            capture_output=True,
            text=True,
        )
    assert ended.stdout == "all calls did what they should\n", ended.stderr
