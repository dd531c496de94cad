"""Files of a repository that are made to harm: the model is told unavailable, and no more."""

import grpc
import numpy as np
import pytest
from onnx import helper
from tests.server.tiny import FLOAT, affine, graph, status_of

from eyespot.v1 import inference_pb2 as pb

DEEP = 100_000
HUGE = 9 << 20


async def _reason(client, name):
    index = await client.inference.RepositoryIndex(pb.RepositoryIndexRequest())
    (entry,) = (entry for entry in index.models if entry.name == name)
    return entry.state, entry.reason


BOMBS = {
    "config.pbtxt": {
        "# " + "a" * HUGE: "larger than 1024 KiB",
        "instance_group {" * 20_000: "no ModelConfig",
        "parameters { key: 'a' value {" * 20_000: "no ModelConfig",
        "max_batch_size: " + "9" * 100_000: "no ModelConfig",
        'input { name: "x" data_type: 4294967295 }': "no ModelConfig",
        'default_model_filename: "a\\000b"': "must be a plain file name",
        'output { name: "y" label_filename: "a\\000b" }': "leaves the model's folder",
        "input { dims: [" + "1," * 100_000 + "1] }": "",
    },
    "1/manifest.json": {
        '{"a": "' + "a" * HUGE + '"}': "larger than 4096 KiB",
        "[" * DEEP: "nested too deeply",
        '{"a":' * DEEP: "nested too deeply",
        '{"format_version": ' + "9" * 10_000 + "}": "cannot be read",
        '{"format_version": 2, "provenance": 3, "preprocessing": null, "parity": null}': "",
        '{"format_version": [[2]]}': "format_version",
    },
    "labels.txt": {"a\n" * (HUGE // 2): "labels.txt cannot be read: it is larger than 8192 KiB"},
}
LABELLED = 'output { name: "y" label_filename: "labels.txt" }\n'


@pytest.mark.parametrize("file", BOMBS)
async def test_texts_that_are_too_large_or_too_deep(repository, serving, file):
    repository.add("sound", affine())
    for number, text in enumerate(BOMBS[file]):
        config = LABELLED if file == "labels.txt" else "max_batch_size: 4\n"
        folder = repository.add(f"bomb{number}", affine(), config=config)
        (folder.parent / file).write_text(text)
    async with serving() as (_, client):
        for number, expected in enumerate(BOMBS[file].values()):
            state, reason = await _reason(client, f"bomb{number}")
            assert state == "UNAVAILABLE", (number, reason)
            assert expected in reason, reason[:200]
            assert len(reason) < 2000
        assert (await _reason(client, "sound"))[0] == "READY"


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' * DEEP,
        "[" * DEEP,
        '{"name": "' + "a" * HUGE + '"}',
        '{"instanceGroup": ' + "[" * 500 + "]" * 500 + "}",
        '{"maxBatchSize": ' + "9" * 10_000 + "}",
        '{"maxBatchSize": 1e400}',
        "[]",
        "null",
        "",
        "\0",
    ],
)
async def test_a_config_that_a_call_brings(repository, serving, text):
    repository.add("net", affine())
    async with serving(model_control_mode="explicit", load_model="*") as (_, client):
        request = pb.RepositoryModelLoadRequest(model_name="net")
        request.parameters["config"].string_param = text
        code, details = await status_of(client.inference.RepositoryModelLoad(request))
        assert code is grpc.StatusCode.FAILED_PRECONDITION, details
        assert (await _reason(client, "net"))[0] == "READY"  # what was served still is


async def test_graphs_that_ask_for_code_or_for_more_memory_than_there_is(repository, serving):
    row = {"x": (FLOAT, ["batch", 4])}, {"y": (FLOAT, ["batch", 4])}
    foreign = helper.make_node("Anything", ["x"], ["y"], domain="com.example.evil")
    model = graph([foreign], *row)
    model.opset_import.append(helper.make_opsetid("com.example.evil", 1))
    repository.add("operator", model)
    huge = [
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"]),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    repository.add("memory", graph(huge, *row, {"size": np.int64([1 << 45])}))
    repository.add("sound", affine())
    async with serving() as (_, client):
        for name, expected in (("operator", "cannot be loaded"), ("memory", "the graph fails")):
            state, reason = await _reason(client, name)
            assert (state, expected in reason) == ("UNAVAILABLE", True), (name, reason)
        assert (await _reason(client, "sound"))[0] == "READY"
