"""A repository examined again, and what it says of itself."""

import json
import shutil

import pytest

from eyespot.exporter import RepositoryError, check_repository, inspect_entry
from eyespot.v1.sha256 import sha256_of


@pytest.fixture
def repository(tmp_path, exported):
    """A copy of the exported model that may be spoilt."""
    shutil.copytree(exported.path.parents[1], tmp_path / "repository")
    return tmp_path / "repository"


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def edit_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rehash(folder):
    files = {name: sha256_of(folder / name) for name in ("model.onnx", "original.pt2")}
    edit_manifest(folder, files=files)


def reasons(repository):
    (result,) = check_repository(repository)
    assert result.ok is not bool(result.reasons)
    return " | ".join(result.reasons)


def test_what_was_exported_passes_again(repository, exported):
    lines = []
    (result,) = check_repository(repository, progress=lines.append)
    assert (result.model_name, result.model_version, result.ok) == ("small", "1", True)
    assert result.reasons == ()
    assert result.parity == exported.manifest.parity
    assert lines == ["checking small version 1"]


@pytest.mark.parametrize("file", ["model.onnx", "original.pt2"])
def test_one_flipped_bit_is_found(repository, file):
    flip(repository / "small" / "1" / file, 2000)
    found = sha256_of(repository / "small" / "1" / file)
    assert f"{file} has changed: SHA-256 {found[:12]}..., written as " in reasons(repository)


def test_artefacts_that_disagree_are_found_though_their_hashes_fit(repository, exported):
    import onnx
    from onnx import numpy_helper

    folder = repository / "small" / "1"
    model = onnx.load(folder / "model.onnx")
    weight = next(w for w in model.graph.initializer if w.name == "network.head.bias")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + 0.01, weight.name))
    onnx.save(model, folder / "model.onnx")
    rehash(folder)
    assert "parity: output 'logits' at batch 1 (random) differs by 0.01" in reasons(repository)


def test_an_original_with_a_pickle_is_not_opened(repository):
    import zipfile

    folder = repository / "small" / "1"
    path = folder / "original.pt2"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (sample,) = [name for name in members if name.endswith("sample_inputs/model.pt")]
    members[sample] = b"cposix\nsystem\n(S'exit'\ntR."
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    rehash(folder)
    assert "pickle" in reasons(repository)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda model: (model / "config.pbtxt").unlink(), "config.pbtxt of small cannot be read"),
        (lambda model: (model / "config.pbtxt").write_text("nonsense"), "cannot be read"),
        (lambda model: (model / "config.pbtxt").write_text("#" * 2**21), "larger than 1024 KiB"),
        (lambda model: (model / "1" / "manifest.json").write_text("[" * 10**5), "too deeply"),
        (lambda model: (model / "labels.txt").write_text("a\nb\n"), "2 labels for 5 classes"),
        (lambda model: (model / "labels.txt").write_bytes(b"\xff"), "not UTF-8"),
        (lambda model: (model / "1" / "original.pt2").unlink(), "original.pt2 is missing"),
        (lambda model: (model / "1" / "model.onnx").unlink(), "model.onnx is missing"),
        (lambda model: (model / "1" / "manifest.json").write_text("{}"), "format_version None"),
        (lambda model: edit_manifest(model / "1", model_name="x"), "is of x version 1"),
        (lambda model: edit_manifest(model / "1", gradient_node="conv"), "'conv'"),
        (lambda model: edit_manifest(model / "1", files={"../x": "0"}), "../x is missing"),
        (lambda model: shutil.rmtree(model / "1"), "it has no version"),
    ],
)
def test_whatever_else_is_wrong_is_named(repository, spoil, told):
    spoil(repository / "small")
    assert told in reasons(repository)


def test_a_broken_version_hides_no_other(repository):
    for name in ("1", "3"):
        shutil.copytree(repository / "small" / "1", repository / "small" / "x")
        (repository / "small" / "x").rename(repository / "small" / f"0{name}")
    (repository / "small" / "03" / "model.onnx").write_bytes(b"")
    (repository / ".hidden").mkdir()
    results = {result.model_version: result for result in check_repository(repository)}
    assert list(results) == ["01", "1", "03"]
    assert "version 1 is there twice" in results["1"].reasons
    assert "model.onnx has changed" in " ".join(results["03"].reasons)
    shutil.rmtree(repository / "small" / "01")
    assert [result.ok for result in check_repository(repository)] == [True, False]


def test_a_plain_folder_is_no_model(repository):
    (repository / "pictures" / "cats").mkdir(parents=True)
    lines = []
    (result,) = check_repository(repository, progress=lines.append)
    assert (result.model_name, result.ok) == ("small", True)
    assert lines[0] == "pictures is no model: it has neither config.pbtxt nor a version"


def test_a_repository_of_triton_is_opened_without_manifest(tiny_repository):
    (tiny_repository / "double" / "config.pbtxt").write_text("max_batch_size: 8")
    (result,) = check_repository(tiny_repository)
    assert result.ok
    assert "no manifest.json" in result.notes[0]
    (tiny_repository / "double" / "1" / "model.onnx").write_bytes(b"broken")
    assert "model.onnx is no ONNX graph" in reasons(tiny_repository)
    # An empty message is a graph of nothing.
    (tiny_repository / "double" / "1" / "model.onnx").write_bytes(b"\x3a\x00")
    assert "ONNX Runtime cannot open model.onnx" in reasons(tiny_repository)


def test_no_folder_is_no_repository(tmp_path):
    with pytest.raises(RepositoryError, match="no such folder"):
        check_repository(tmp_path / "nothing")


def test_an_entry_describes_itself(repository, exported, rule):
    entry = inspect_entry(repository, "small")
    assert (entry.model_name, entry.model_version, entry.model_versions) == ("small", "1", ("1",))
    assert entry.inputs[0].shape == ("batch", 12, 12, 3)
    assert entry.outputs[0].name == "logits"
    assert (entry.max_batch_size, entry.parameter_count, entry.opset_version) == (32, 215, 18)
    assert entry.is_explainable
    assert entry.preprocessing == rule
    assert entry.parity == exported.manifest.parity
    assert entry.provenance.architecture == "SmallNet"
    assert set(entry.files) == {"model.onnx", "original.pt2", "manifest.json"}
    assert entry.files["model.onnx"] == (exported.path / "model.onnx").stat().st_size


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [("other", None, "no model 'other'"), ("small", "7", r"version 7: there are \['1'\]")],
)
def test_no_such_entry(repository, name, version, told):
    with pytest.raises(RepositoryError, match=told):
        inspect_entry(repository, name, version)


def test_an_entry_without_manifest_cannot_be_inspected(repository):
    (repository / "small" / "1" / "manifest.json").unlink()
    with pytest.raises(RepositoryError, match="when it is added"):
        inspect_entry(repository, "small")
