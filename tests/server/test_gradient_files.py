"""Gradient graphs are checked as the served graph is: their hashes, and where their weights lie."""

import json
import shutil

import onnx
import pytest

from eyespot.server.errors import RepositoryError
from eyespot.server.model_config import empty_config
from eyespot.server.repository import VersionFolder, check_files
from eyespot.v1.manifest import sha256_of


@pytest.fixture
def version(gradient_export, tmp_path):
    folder = tmp_path / "1"
    shutil.copytree(gradient_export.path, folder)
    return VersionFolder("branched", "1", folder, empty_config())


def test_what_was_exported_is_whole(version, gradient_export):
    assert check_files(version) == gradient_export.manifest


def test_one_that_was_changed_is_refused(version):
    path = version.folder / "gradient_layer.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(RepositoryError, match=r"^gradient_layer.onnx has the SHA-256"):
        check_files(version)


def test_weights_out_of_the_folder_are_refused(version):
    path, manifest = version.folder / "gradient.onnx", version.folder / "manifest.json"
    model = onnx.load(path, load_external_data=False)
    place = next(w for w in model.graph.initializer if w.external_data).external_data[0]
    assert place.key == "location"
    place.value = "../secret"
    path.write_bytes(model.SerializeToString())
    values = json.loads(manifest.read_text())
    values["files"][path.name] = sha256_of(path)
    manifest.write_text(json.dumps(values))
    with pytest.raises(RepositoryError, match="no path within the model's folder"):
        check_files(version)
