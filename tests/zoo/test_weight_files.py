"""Every way in which a state_dict lies in a file, and the files that are none."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from eyespot.zoo import WeightsError
from eyespot.zoo.weight_files import read_state_dict

TENSORS = {"conv.weight": torch.arange(8.0).view(2, 1, 2, 2), "conv.bias": torch.tensor([1.5, -2])}


def saved(path, content=None, *, legacy=False):
    content = TENSORS if content is None else content
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def assert_tensors(state_dict):
    assert set(state_dict) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert torch.equal(state_dict[name], tensor)
        assert state_dict[name].device.type == "cpu"


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th", ".bin"])
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_old_and_new(tmp_path, suffix, legacy):
    path = saved(tmp_path / f"weights{suffix}", legacy=legacy)
    assert zipfile.is_zipfile(path) != legacy
    assert_tensors(read_state_dict(path))


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_safetensors_under_any_suffix(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    safetensors.torch.save_file(TENSORS, path)
    assert_tensors(read_state_dict(path))


@pytest.mark.parametrize(
    "nest",
    [
        lambda tensors: {"state_dict": tensors, "epoch": 3, "best_prec1": 91.7},
        lambda tensors: {"model": tensors, "optimizer": {"lr": 0.1}},
        lambda tensors: {"model": {"state_dict": tensors}},
        lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
        lambda tensors: {"state_dict": {f"module.{n}": t for n, t in tensors.items()}},
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_nested_and_prefixed(tmp_path, nest, legacy):
    path = saved(tmp_path / "checkpoint.pth", nest(TENSORS), legacy=legacy)
    assert_tensors(read_state_dict(path))


def test_parameters_are_tensors(tmp_path):
    content = {name: torch.nn.Parameter(tensor) for name, tensor in TENSORS.items()}
    assert_tensors(read_state_dict(saved(tmp_path / "weights.pt", content)))


@pytest.mark.parametrize("legacy", [False, True])
def test_saved_from_cuda(tmp_path, legacy):
    # What a machine with a device writes: the storages' location reads "cuda:0".
    path = saved(tmp_path / "weights.pt", legacy=legacy)
    cpu, cuda = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    if legacy:
        content = path.read_bytes()
        assert cpu in content
        path.write_bytes(content.replace(cpu, cuda))
    else:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                assert cpu in content or not name.endswith("data.pkl")
                archive.writestr(name, content.replace(cpu, cuda))
    assert_tensors(read_state_dict(path))


class RunsOnRead:
    def __reduce__(self):
        return (os.mkdir, ("was-run",))


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_refused_and_not_run(tmp_path, monkeypatch, legacy):
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "evil.pt", {"state_dict": TENSORS, "x": RunsOnRead()}, legacy=legacy)
    with pytest.raises(WeightsError, match=r"evil.pt holds more than tensors.*run code.*mkdir"):
        read_state_dict(path)
    path.write_bytes(pickle.dumps(RunsOnRead(), protocol=2))
    with pytest.raises(WeightsError, match=r"evil.pt holds more than tensors"):
        read_state_dict(path)
    assert not Path("was-run").exists()


def test_a_whole_module_is_refused(tmp_path):
    path = saved(tmp_path / "module.pt", torch.nn.Linear(1, 1))
    with pytest.raises(WeightsError, match=r"torch.nn.modules.linear.Linear.*state_dict\(\)"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no weights file, or a damaged one"),
        (b"# Notes", r"no weights file.*\(no pickle of tensors\).*safetensors or .*\.pth, \.th\)"),
        (b"<html>404 Not Found</html>", "no weights file, or a damaged one"),
        (b"PK\x03\x04 a zip that ends here", "no weights file, or a damaged one"),
        (bytes(range(256)) * 16, "no weights file, or a damaged one"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"other.pth is {message}"):
        read_state_dict(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_files_are_refused(tmp_path, legacy):
    path = saved(tmp_path / "weights.pt", legacy=legacy)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError, match=r"weights.pt is no weights file, or a damaged one"):
        read_state_dict(path)


def test_truncated_safetensors_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WeightsError, match=r"weights.safetensors is no whole safetensors file"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "holds a list, expected a state_dict"),
        (torch.zeros(1), "holds a Tensor, expected a state_dict"),
        ({}, "is empty"),
        ({"net": {"a": torch.zeros(1)}, "epoch": 1}, "holds net, epoch; expected tensors by name"),
        ({0: torch.zeros(1)}, "holds 0; expected tensors by name"),
    ],
)
def test_content_that_is_no_state_dict(tmp_path, content, message):
    path = saved(tmp_path / "weights.pt", content)
    with pytest.raises(WeightsError, match=f"weights.pt {message}"):
        read_state_dict(path)
