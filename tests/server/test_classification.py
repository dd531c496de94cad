import numpy as np
import pytest
from onnx import TensorProto
from tests.server.tiny import FLOAT, identity, infer_request, read_outputs, status_of

from eyespot.server.classification import classify
from eyespot.server.errors import InvalidArgumentError


def test_texts_are_value_index_and_label():
    output = np.float32([[0.25, 7.5, -1]])
    found = classify(output, 2, ["cat", "dog"], is_batched=True)
    assert found.tolist() == [[b"7.500000:1:dog", b"0.250000:0:cat"]]
    assert classify(output, 9, ["cat"], is_batched=True).tolist() == [
        [b"7.500000:1", b"0.250000:0:cat", b"-1.000000:2"]
    ]


def test_equal_values_keep_their_order_and_whole_numbers_stay_whole():
    assert classify(np.int64([4, 9, 9]), 2, [], is_batched=False).tolist() == [b"9:1", b"9:2"]
    assert classify(np.bool_([[False, True]]), 1, [], is_batched=True).tolist() == [[b"1:1"]]


def test_sizes_behind_the_rows_are_taken_as_one():
    output = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert classify(output, 1, [], is_batched=True).tolist() == [[b"3.000000:3"], [b"7.000000:3"]]


def test_texts_cannot_be_ranked():
    with pytest.raises(InvalidArgumentError, match="numbers"):
        classify(np.array([[b"a"]], object), 1, [], is_batched=True)


async def test_over_the_wire(repository, serving):
    folder = repository.add(
        "net",
        identity(FLOAT, ["batch", 3]),
        config='max_batch_size: 4\noutput { name: "y" label_filename: "labels.txt" }',
    )
    (folder.parent / "labels.txt").write_text("cat\ndog\ncow\n")
    repository.add("text", identity(TensorProto.STRING, ["batch", 1]))
    async with serving() as (_, client):
        request = infer_request("net", x=np.float32([[1, 3, 2], [9, 8, 7]]))
        output = request.outputs.add(name="y")
        output.parameters["classification"].int64_param = 2
        response = await client.inference.ModelInfer(request)
        assert response.outputs[0].datatype == "BYTES"
        assert response.outputs[0].shape == [2, 2]
        assert read_outputs(response)["y"].tolist() == [
            [b"3.000000:1:dog", b"2.000000:2:cow"],
            [b"9.000000:0:cat", b"8.000000:1:dog"],
        ]
        output.parameters["classification"].int64_param = 0
        code, told = await status_of(client.inference.ModelInfer(request))
        assert code.name == "INVALID_ARGUMENT"
        assert "an int64 of at least 1" in told
