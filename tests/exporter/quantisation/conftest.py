"""A small trained-looking model that may be derived from, and pictures to calibrate it on."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyespot.exporter.parity import open_session, run_session
from eyespot.exporter.pictures import read_rows
from eyespot.exporter.quantisation import conversion
from eyespot.exporter.quantisation.speed import Speed

PICTURES = 48


@pytest.fixture(scope="module")
def repository(tmp_path_factory, exported):
    """A copy of the repository that holds `small`, which may be written into."""
    copy = tmp_path_factory.mktemp("derived") / "repository"
    shutil.copytree(exported.path.parent.parent, copy)
    return copy


@pytest.fixture(scope="session")
def calibration(tmp_path_factory):
    """Pictures of coarse patches, in one folder that tells no class."""
    folder = tmp_path_factory.mktemp("calibration")
    generator = np.random.default_rng(3)
    for number in range(PICTURES):
        patches = generator.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(patches).resize((14, 14)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def rows(calibration, rule):
    """All the pictures as the network takes them, (48, 12, 12, 3)."""
    paths = sorted(calibration.iterdir())
    return np.stack(read_rows(paths, rule, shape=(12, 12), folder=calibration).rows)


@pytest.fixture
def answers():
    """Logits of a version for some rows."""

    def ask(version: Path, rows):
        return run_session(open_session(version / "model.onnx"))(rows)[0]

    return ask


@pytest.fixture
def as_fast_as(monkeypatch):
    """Pretend that a derived graph takes so many milliseconds where its source takes 1."""

    def pretend(*milliseconds):
        turns = iter(milliseconds)
        last = [0.0]

        def measure(*_, **__):
            last[0] = next(turns, last[0])
            return (Speed(1, 1.0, last[0]),)

        monkeypatch.setattr(conversion, "measure_speed", measure)

    return pretend
