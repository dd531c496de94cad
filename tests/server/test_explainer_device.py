"""Explanations by PyTorch are computed where the session of the version runs."""

import dataclasses

import pytest
from tests.server.explaining import LinearBackend, manifest

from eyespot.server import explainer
from eyespot.server.config import ServerConfig
from eyespot.server.explainer_loading import load_explainer
from eyespot.server.repository import scan
from eyespot.server.version_loading import load_version
from eyespot.v1 import model_config_pb2

GROUP = model_config_pb2.ModelInstanceGroup


@pytest.mark.parametrize(
    ("device", "group", "expected"),
    [
        ("cpu", None, "cpu"),
        ("cuda", None, "cuda:0"),
        ("cuda", GROUP(kind=GROUP.KIND_GPU, gpus=[2]), "cuda:2"),
        ("cuda", GROUP(kind=GROUP.KIND_CPU), "cpu"),
    ],
)
def test_the_original_is_loaded_where_the_session_is(
    repository, monkeypatch, device, group, expected
):
    repository.add("net", config="max_batch_size: 8")
    (folder,) = scan(repository.path)
    settings = ServerConfig(repository=repository.path)
    loaded = load_version(folder, settings)._replace(manifest=manifest())
    folder.original_path.touch()
    folder.config_file.message.instance_group.extend([group] if group else [])
    seen = []

    def load_original(*_, device, **__):
        seen.append(device)
        return LinearBackend()

    monkeypatch.setattr(explainer, "load_original", load_original)
    monkeypatch.setattr(explainer, "verify_original", lambda *_: None)
    made = load_explainer(loaded, dataclasses.replace(settings, device=device))
    made.close()
    assert made.backend == LinearBackend.name
    assert seen == [expected]
