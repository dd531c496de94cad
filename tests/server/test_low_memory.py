"""Weights in a file of their own, where memory is short: mapped from the disk, and not copied."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from tests.server.tiny import FLOAT, graph

from eyespot.server.config import ServerConfig
from eyespot.server.repository import scan
from eyespot.server.version_loading import load_version

SIDE = 2048  # of a matrix of 16 MiB
WEIGHTS = "model.onnx.data"


@pytest.fixture
def repository_path(tmp_path):
    """One model that multiplies by a matrix, which lies beside its graph."""
    matrix = np.zeros((SIDE, SIDE), np.float32)
    np.fill_diagonal(matrix, 2)
    made = graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": (FLOAT, ["batch", SIDE])},
        {"y": (FLOAT, ["batch", SIDE])},
        {"w": matrix},
    )
    folder = tmp_path / "net" / "1"
    folder.mkdir(parents=True)
    onnx.save(made, folder / "model.onnx", save_as_external_data=True, location=WEIGHTS)
    assert (folder / "model.onnx").stat().st_size < 1000
    return tmp_path


def own_bytes() -> int:
    """Memory of this process that no file holds."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (told,) = [line for line in lines if line.startswith("RssAnon:")]
    return int(told.split()[1]) << 10  # KiB


@pytest.mark.parametrize("low_memory", [True, False])
def test_weights_in_a_file_are_mapped_where_memory_is_short(repository_path, low_memory):
    (folder,) = scan(repository_path)
    onnxruntime.get_available_providers()  # what it takes itself does not count
    before = own_bytes()
    loaded = load_version(folder, ServerConfig(repository=repository_path, low_memory=low_memory))
    more = own_bytes() - before
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    row = np.arange(SIDE, dtype=np.float32)[np.newaxis]
    np.testing.assert_array_equal(loaded.session.run({"x": row}, ["y"])["y"], 2 * row)
    assert (str(repository_path / "net" / "1" / WEIGHTS) in maps) == low_memory
    if low_memory:  # without it, a copy may have found its place in what the process had already
        assert more < 2 * SIDE * SIDE, f"{more >> 20} MiB more"
