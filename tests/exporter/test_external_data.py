"""Weights beside the graph: asked for, or because one file could not hold both."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import eyespot.exporter.onnx_file
from eyespot.exporter import (
    ModelTooLargeError,
    add_model,
    check_repository,
    export,
    inspect_entry,
)
from eyespot.server.errors import RepositoryError
from eyespot.server.repository import check_files, scan
from eyespot.v1.sha256 import sha256_of

SAMPLE = torch.zeros(1, 3, 6, 6)


def build():
    """Build a network of which two weights are large and the rest stays in the graph."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5))


def logits(folder, rows):
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return session.run(None, {"input": rows})[0]


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    return export(
        build(),
        SAMPLE,
        repository=tmp_path_factory.mktemp("beside"),
        name="net",
        external_data=True,
        max_batch_size=2,
    )


@pytest.fixture
def repository(beside, tmp_path):
    shutil.copytree(beside.path.parents[1], tmp_path / "repository")
    return tmp_path / "repository"


def test_the_weights_lie_in_one_file_and_the_network_is_the_same(beside):
    assert {path.name for path in beside.path.iterdir()} == {
        "manifest.json",
        "model.onnx",
        "model.onnx.data",
        "original.pt2",
    }
    assert set(beside.manifest.files) == {"model.onnx", "model.onnx.data", "original.pt2"}
    for file, found in beside.manifest.files.items():
        assert sha256_of(beside.path / file) == found
    model = onnx.load(beside.path / "model.onnx", load_external_data=False)
    moved = {
        w.name for w in model.graph.initializer if w.data_location == onnx.TensorProto.EXTERNAL
    }
    assert moved == {"0.weight", "3.weight"}
    # 16 x 3 x 3 x 3 floats, a page further 5 x 256 floats.
    assert (beside.path / "model.onnx.data").stat().st_size == 4096 + 5 * 256 * 4
    rows = np.random.default_rng(0).standard_normal((3, 3, 6, 6), np.float32)
    with torch.no_grad():
        expected = build()(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(logits(beside.path, rows), expected, atol=1e-5)


def test_the_same_bytes_twice(beside, tmp_path):
    again = export(
        build(), SAMPLE, repository=tmp_path, name="a", external_data=True, max_batch_size=2
    )
    for file in ("model.onnx", "model.onnx.data"):
        assert again.manifest.files[file] == beside.manifest.files[file]


def test_check_and_inspect_know_the_file(repository):
    (checked,) = check_repository(repository)
    assert checked.reasons == ()
    assert "model.onnx.data" in inspect_entry(repository, "net").files
    path = repository / "net" / "1" / "model.onnx.data"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    (checked,) = check_repository(repository)
    assert "model.onnx.data has changed" in checked.reasons[0]


def test_the_server_checks_the_file(repository):
    (version,) = scan(repository)
    assert check_files(version).files["model.onnx.data"]
    (repository / "net" / "1" / "model.onnx.data").write_bytes(b"")
    with pytest.raises(RepositoryError, match=r"model\.onnx\.data has the SHA-256"):
        check_files(version)


def test_weights_without_a_hash_are_a_fault(repository):
    path = repository / "net" / "1" / "manifest.json"
    values = json.loads(path.read_text())
    del values["files"]["model.onnx.data"]
    path.write_text(json.dumps(values))
    (checked,) = check_repository(repository)
    assert "model.onnx.data has no hash in manifest.json" in checked.reasons[0]


def test_add_takes_it_with_its_data(beside, tmp_path):
    result = add_model(beside.path / "model.onnx", repository=tmp_path, name="added")
    assert set(result.manifest.files) == {"model.onnx", "model.onnx.data"}
    rows = np.ones((1, 3, 6, 6), np.float32)
    np.testing.assert_array_equal(logits(result.path, rows), logits(beside.path, rows))


def test_what_one_file_cannot_hold_goes_beside_unasked(tmp_path, monkeypatch, beside):
    # 16 x 27 + 16 + 5 x 256 + 5 numbers of four bytes, one more than there is room for.
    room = (432 + 16 + 1280 + 5) * 4 - 1
    monkeypatch.setattr(eyespot.exporter.onnx_file, "_GRAPH_BYTES", 2**20)
    monkeypatch.setattr(eyespot.exporter.onnx_file, "_PROTOBUF_LIMIT", room + 2**20)
    result = export(build(), SAMPLE, repository=tmp_path, name="net", max_batch_size=2)
    assert result.manifest.files["model.onnx.data"] == beside.manifest.files["model.onnx.data"]


def test_a_graph_that_is_too_large_by_itself_is_refused(tmp_path, monkeypatch, walk):
    monkeypatch.setattr(eyespot.exporter.onnx_file, "_PROTOBUF_LIMIT", 1000)
    with pytest.raises(ModelTooLargeError, match="without its weights"):
        export(build(), SAMPLE, repository=tmp_path / "new", name="net")
    assert walk(tmp_path) == []
