"""Warm-ups of config.pbtxt: run before a model is ready, and a reason where they fail."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.server.tiny import FLOAT, affine, graph, identity

from eyespot.server.config import ServerConfig
from eyespot.server.errors import RepositoryError
from eyespot.server.repository import scan
from eyespot.server.session import Session
from eyespot.server.version_loading import load_version

WARMUP = 'model_warmup {{ name: "first" {more} inputs {{ key: "x" value {{ {input} }} }} }}'
ZEROS = "data_type: TYPE_FP32 dims: 4 zero_data: true"


@pytest.fixture
def runs(monkeypatch):
    """The inputs of each run of a session, in order."""
    seen = []
    run = Session.run

    def watched(session, inputs, outputs):
        seen.append(inputs)
        return run(session, inputs, outputs)

    monkeypatch.setattr(Session, "run", watched)
    return seen


def load(repository, config, model=None, files=None):
    folder = repository.add("net", model or affine(), config="max_batch_size: 8\n" + config)
    for name, content in (files or {}).items():
        path = folder.parent / "warmup" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (found,) = scan(repository.path)
    return load_version(found, ServerConfig(repository=repository.path, strict=True))


def test_each_is_run_as_often_as_it_says(repository, runs):
    load(repository, WARMUP.format(more="batch_size: 3 count: 2", input=ZEROS))
    assert [run["x"].tolist() for run in runs[:2]] == [[[0.0] * 4] * 3] * 2
    assert len(runs[2]["x"]) == 1  # what is measured after it


def test_random_numbers_are_from_0_to_1(repository, runs):
    load(
        repository,
        WARMUP.format(more="batch_size: 1", input="data_type: TYPE_FP32 dims: 4 random_data: true"),
    )
    values = runs[0]["x"]
    assert values.dtype == np.float32
    assert len(np.unique(values)) == 4
    assert 0 <= values.min() < values.max() < 1


@pytest.mark.parametrize("name", ["BOOL", "INT8", "UINT64", "FP16", "FP64", "BF16"], ids=str.lower)
def test_random_values_of_every_kind(repository, runs, name):
    onnx_type = {"FP16": "FLOAT16", "FP64": "DOUBLE", "BF16": "BFLOAT16"}.get(name, name)
    model = identity(getattr(TensorProto, onnx_type), ["batch", 64])
    given = f"data_type: TYPE_{name} dims: 64 random_data: true"
    load(repository, WARMUP.format(more="batch_size: 1", input=given), model)
    assert len(np.unique(runs[0]["x"])) > (1 if name == "BOOL" else 8)


def test_a_file_holds_one_row(repository, runs):
    row = np.float32([1, 2, 3, 4])
    given = 'data_type: TYPE_FP32 dims: 4 input_data_file: "row"'
    load(
        repository,
        WARMUP.format(more="batch_size: 2", input=given),
        files={"row": row.tobytes()},
    )
    assert runs[0]["x"].tolist() == [row.tolist()] * 2


def test_texts_come_from_a_file_or_are_empty(repository, runs):
    model = identity(TensorProto.STRING, ["batch", 2])
    given = 'data_type: TYPE_STRING dims: 2 input_data_file: "words"'
    words = b"\x02\x00\x00\x00\xc3\xa9\x00\x00\x00\x00"
    empty = "data_type: TYPE_STRING dims: 2 random_data: true"
    load(
        repository,
        WARMUP.format(more="batch_size: 1", input=given)
        + WARMUP.format(more="batch_size: 1", input=empty),
        model,
        {"words": words},
    )
    assert [run["x"].tolist() for run in runs[:2]] == [[["é", ""]], [["", ""]]]


def test_one_without_a_batch_size_is_left_out_and_told(repository, runs, caplog):
    load(repository, WARMUP.format(more="", input="data_type: TYPE_INT8 dims: 9 zero_data: true"))
    assert "the warm-up 'first' has no batch_size and is left out" in caplog.text


@pytest.mark.parametrize(
    ("more", "given", "why"),
    [
        ("batch_size: 9", ZEROS, "batch_size 9 is above 8"),
        ("batch_size: 1 count: 10001", ZEROS, "count 10001 is above 10000"),
        ("batch_size: 1", "data_type: TYPE_FP32 dims: 5 zero_data: true", r"dims \[5\], not \[4\]"),
        ("batch_size: 1", "data_type: TYPE_INT8 dims: 4 zero_data: true", "is not of FP32"),
        ("batch_size: 1", "data_type: TYPE_FP32 dims: 4", "neither zero_data nor"),
        (
            "batch_size: 1",
            'data_type: TYPE_FP32 dims: 4 input_data_file: "short"',
            "takes 16 bytes, found 3",
        ),
        (
            "batch_size: 1",
            'data_type: TYPE_FP32 dims: 4 input_data_file: "none"',
            "warmup/none cannot be read: No such file",
        ),
        (
            "batch_size: 1",
            'data_type: TYPE_FP32 dims: 4 input_data_file: "../config.pbtxt"',
            "leaves the folder",
        ),
        (f'batch_size: 1 inputs {{ key: "z" value {{ {ZEROS} }} }}', ZEROS, r"inputs \['x', 'z'\]"),
    ],
)
def test_one_that_does_not_fit_says_why(repository, more, given, why):
    with pytest.raises(RepositoryError, match=f"the warm-up 'first' fails: .*{why}"):
        load(repository, WARMUP.format(more=more, input=given), files={"short": b"abc"})


def test_one_that_takes_absurd_memory_is_refused(repository):
    config = WARMUP.format(
        more="batch_size: 8", input=f"data_type: TYPE_FP32 dims: {1 << 40} random_data: true"
    )
    with pytest.raises(RepositoryError, match=f"takes {8 << 42} bytes, at most"):
        load(repository, config, model=identity(FLOAT, ["batch", "width"]))


async def test_a_model_whose_warm_up_fails_is_unavailable(repository, serving):
    gather = graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        {"x": (TensorProto.INT64, ["batch"])},
        {"y": (FLOAT, ["batch"])},
        {"table": np.float32([1, 2])},
    )
    beyond = 'data_type: TYPE_INT64 dims: [] input_data_file: "beyond"'
    folder = repository.add(
        "net",
        gather,
        config="max_batch_size: 2\n" + WARMUP.format(more="batch_size: 1", input=beyond),
    )
    (folder.parent / "warmup").mkdir()
    (folder.parent / "warmup" / "beyond").write_bytes(np.int64(2).tobytes())
    async with serving() as (server, _):
        (entry,) = server.dataplane.index()
    assert entry.state.value == "UNAVAILABLE"
    assert entry.reason.startswith("the warm-up 'first' fails: the model rejects it:")
