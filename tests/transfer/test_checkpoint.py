import pytest
import torch
from safetensors import safe_open
from torch import nn

from eyespot.transfer import CheckpointError, checkpoint, save_weights


def test_weights_and_their_training_come_back(tmp_path):
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    path = tmp_path / "new" / "weights.safetensors"
    save_weights(module, path, training={"seed": "5"})
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"seed": "5"}
        assert set(file.keys()) == set(module.state_dict())
        for name, value in module.state_dict().items():
            assert torch.equal(file.get_tensor(name), value)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_others_may_read_the_weights_as_the_umask_says(tmp_path):
    path, usual = tmp_path / "weights.safetensors", tmp_path / "usual"
    usual.touch()
    save_weights(nn.Linear(1, 1), path, training={})
    assert path.stat().st_mode == usual.stat().st_mode


@pytest.mark.parametrize("is_there", [True, False])
def test_an_interruption_leaves_what_was_there(is_there, tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    if is_there:
        path.write_bytes(b"before")

    def interrupted(state, target, metadata):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_weights(nn.Linear(1, 1), path, training={})
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == (
        {path.name: b"before"} if is_there else {}
    )


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"file.weights\.safetensors cannot be written"):
        save_weights(nn.Linear(1, 1), tmp_path / "file" / "weights.safetensors", training={})
