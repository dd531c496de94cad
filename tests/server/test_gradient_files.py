"""Gradient graphs that are damaged take explanations away, and no inference."""

import asyncio
import json
import logging
import shutil
import sys

import numpy as np
import onnx
import pytest

from eyespot.server.config import ServerConfig
from eyespot.server.errors import NotExplainableError, RepositoryError
from eyespot.server.explainer import ExplainCall
from eyespot.server.explainer_loading import load_explainer
from eyespot.server.loaded_version import check_unchanged
from eyespot.server.model_config import ConfigFile, read_config
from eyespot.server.repository import VersionFolder, check_files, damaged_gradients
from eyespot.server.session import Session
from eyespot.server.version_loading import load_version
from eyespot.v1.manifest import read_manifest
from eyespot.v1.sha256 import sha256_of

GRAPHS = {
    *("gradient.onnx", "gradient_guided.onnx", "gradient_deconvnet.onnx"),
    *("gradient_layer.onnx", "gradient_layer_relu_.onnx", "gradient_layer_cat.onnx"),
}


@pytest.fixture
def version(gradient_export, tmp_path):
    model = tmp_path / "branched"
    shutil.copytree(gradient_export.path.parent, model)
    config = read_config(model)
    assert isinstance(config, ConfigFile)
    return VersionFolder("branched", "1", model / "1", config)


def damaged(version):
    return damaged_gradients(version.folder, read_manifest(version.folder / "manifest.json"))


def damage(version, name):
    path = version.folder / name
    path.write_bytes(path.read_bytes() + b"\0")


def change_manifest(version, change):
    path = version.folder / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def loaded(version):
    """The version and its explainer, as in a server without PyTorch."""
    settings = ServerConfig(
        repository=version.folder.parent.parent, explain_backend="onnx", model_cache="off"
    )
    found = load_version(version, settings)
    return found, load_explainer(found, settings)


def reasons(explainer):
    return {each.name: each.reason for each in explainer.methods() if not each.available}


def infer(found):
    x = np.ones((1, 3, 16, 16), np.float32)
    return found.session.run({"input": x}, ["logits"])["logits"]


def test_what_was_exported_is_whole(version, gradient_export):
    assert check_files(version) == gradient_export.manifest
    assert set(gradient_export.manifest.gradient_graphs.files) == GRAPHS
    assert damaged(version) == {}


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_one_that_was_changed_is_told(version, gradient_export, name):
    damage(version, name)
    assert check_files(version) == gradient_export.manifest
    assert list(damaged(version)) == [name]
    assert damaged(version)[name].startswith(f"{name} has the SHA-256 ")


def test_one_that_is_missing_or_has_no_hash_is_told(version):
    (version.folder / "gradient_layer.onnx").unlink()
    change_manifest(version, lambda values: values["files"].pop("gradient_guided.onnx"))
    assert damaged(version) == {
        "gradient_layer.onnx": "gradient_layer.onnx cannot be read: No such file or directory",
        "gradient_guided.onnx": "manifest.json has no SHA-256 of gradient_guided.onnx; export the "
        "model again",
    }


def test_weights_out_of_the_folder_are_told(version):
    path = version.folder / "gradient.onnx"
    model = onnx.load(path, load_external_data=False)
    place = next(w for w in model.graph.initializer if w.external_data).external_data[0]
    assert place.key == "location"
    place.value = "../secret"
    path.write_bytes(model.SerializeToString())
    change_manifest(version, lambda v: v["files"].update({path.name: sha256_of(path)}))
    assert "no path within the model's folder" in damaged(version)["gradient.onnx"]


def test_without_the_gradient_nothing_is_differentiated_but_the_model_answers(version, caplog):
    damage(version, "gradient.onnx")
    with caplog.at_level(logging.WARNING):
        found, explainer = loaded(version)
    try:
        assert np.isfinite(infer(found)).all()
        assert "is served, but not explained by a gradient graph: gradient.onnx has" in caplog.text
        why = reasons(explainer)
        assert "gradient.onnx has the SHA-256" in why["saliency"]
        assert "export the model again" in why["grad_cam"]
        assert "occlusion" not in why
    finally:
        explainer.close()


def test_the_others_work_on_where_one_is_damaged(version):
    damage(version, "gradient_guided.onnx")
    (version.folder / "gradient_layer.onnx").unlink()
    found, explainer = loaded(version)
    try:
        assert np.isfinite(infer(found)).all()
        why = reasons(explainer)
        assert "gradient_guided.onnx has the SHA-256" in why["guided_backprop"]
        assert "gradient_layer.onnx cannot be read" in why["grad_cam"]
        assert "saliency" not in why
    finally:
        explainer.close()


def explain(explainer, method="saliency", **parameters):
    x = np.ones((1, 3, 16, 16), np.float32)
    call = ExplainCall(x, method=method, parameters=parameters)
    return asyncio.run(explainer.explain(call)).attributions


def test_a_further_layer_that_is_damaged_takes_no_other_with_it(version):
    damage(version, "gradient_layer_cat.onnx")
    _, explainer = loaded(version)
    try:
        layers = {each.name: each.is_default for each in explainer.layers()}
        assert layers == {"relu": True, "relu_": False, "cat": False}
        assert np.isfinite(explain(explainer, "grad_cam", layer="relu_")).all()
        with pytest.raises(NotExplainableError, match=r"by gradient_layer_cat.onnx: .* SHA-256"):
            explain(explainer, "grad_cam", layer="cat")
        assert np.isfinite(explain(explainer, "grad_cam")).all()
    finally:
        explainer.close()


def test_one_is_opened_when_it_is_asked_for_and_without_weights_of_its_own(version, monkeypatch):
    opened, open_session = {}, Session.open

    def remember(path, settings, **options):
        opened[path.name] = settings
        return open_session(path, settings, **options)

    monkeypatch.setattr(Session, "open", remember)
    _, explainer = loaded(version)
    try:
        assert list(opened) == ["model.onnx"]
        explain(explainer)
        explain(explainer)
        assert list(opened) == ["model.onnx", "gradient.onnx"]
        assert not opened["gradient.onnx"].enable_prepacking
        explain(explainer, "grad_cam")
        assert list(opened) == ["model.onnx", "gradient.onnx", "gradient_layer.onnx"]
    finally:
        explainer.close()


@pytest.mark.parametrize("name", ["gradient.onnx", "model.onnx"])
def test_files_that_change_before_one_is_opened_are_seen(version, name):
    _, explainer = loaded(version)
    damage(version, name)
    try:
        with pytest.raises(
            NotExplainableError,
            match=f"version 1 cannot be explained by gradient.onnx: {name} has the SHA-256",
        ):
            explain(explainer)
    finally:
        explainer.close()


def test_a_served_graph_that_was_changed_is_refused(version):
    damage(version, "model.onnx")
    with pytest.raises(RepositoryError, match=r"^model.onnx has the SHA-256"):
        check_files(version)


@pytest.fixture
def derived(version):
    """The version as if it were quantised: its gradients read another graph than is served."""
    shutil.copyfile(version.folder / "model.onnx", version.folder / "original.onnx")
    hashes = {"original.onnx": sha256_of(version.folder / "original.onnx")}
    for name in GRAPHS:
        path = version.folder / name
        model = onnx.load(path, load_external_data=False)
        for weight in model.graph.initializer:
            for said in weight.external_data:
                said.value = said.value.replace("model.onnx", "original.onnx")
        path.write_bytes(model.SerializeToString())
        hashes[name] = sha256_of(path)
    change_manifest(version, lambda values: values["files"].update(hashes))
    return version


def settings_of(version, **changes):
    return ServerConfig(repository=version.folder.parent.parent, model_cache="off", **changes)


@pytest.mark.parametrize("changes", [{"explain_backend": "onnx"}, {"explain": "off"}])
def test_an_original_that_is_not_read_need_not_be_there(version, changes):
    (version.folder / "original.pt2").unlink()
    found = load_version(version, settings_of(version, **changes))
    check_unchanged(found)
    assert np.isfinite(infer(found)).all()


@pytest.mark.parametrize("changes", [{}, {"explain_backend": "torch"}])
def test_an_original_that_is_read_is_missed(version, changes):
    (version.folder / "original.pt2").unlink()
    with pytest.raises(RepositoryError, match=r"^original.pt2 cannot be read: No such file"):
        load_version(version, settings_of(version, **changes))


def test_without_torch_no_original_is_read_and_nobody_says_so(version, monkeypatch, caplog):
    for name in [name for name in sys.modules if name.startswith("eyespot.saliency.torch_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    (version.folder / "original.pt2").unlink()
    found = load_version(version, settings_of(version))
    with caplog.at_level(logging.INFO):
        explainer = load_explainer(found, settings_of(version))
    try:
        assert np.isfinite(explain(explainer)).all()
        assert "is explained by onnxruntime: saliency needs PyTorch" in caplog.text
        assert "it answers meanwhile" not in caplog.text
    finally:
        explainer.close()


def test_the_graph_that_gradients_read_is_theirs_alone(derived, caplog):
    _, explainer = loaded(derived)
    assert np.isfinite(explain(explainer)).all()
    explainer.close()
    (derived.folder / "original.onnx").unlink()
    check_unchanged(load_version(derived, settings_of(derived, explain="off")))
    found, explainer = loaded(derived)
    try:
        assert np.isfinite(infer(found)).all()
        missing = "are in 'original.onnx': No such file"
        assert missing in reasons(explainer)["saliency"]
        assert missing in reasons(explainer)["grad_cam"]
        assert caplog.text.count("is served, but not explained by a gradient graph") == 1
    finally:
        explainer.close()


def test_a_graph_that_gradients_read_and_that_was_changed_is_told(derived):
    assert damaged(derived) == {}
    damage(derived, "original.onnx")
    assert {why[:30] for why in damaged(derived).values()} == {"original.onnx has the SHA-256 "}
    assert set(damaged(derived)) == GRAPHS
