"""The command line in this process, and a server whose answers are known by hand."""

import json

import pytest
from PIL import Image
from tests.client import fake

from eyespot.cli.main import main


class Ran:
    """How a command ended and what it wrote."""

    def __init__(self, code, captured):
        self.code = code
        self.out = captured.out
        self.err = captured.err

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def run(capsys):
    def run(*words):
        code = main([str(word) for word in words])
        return Ran(code, capsys.readouterr())

    return run


@pytest.fixture
def servicer():
    return fake.Servicer()


@pytest.fixture
def address(servicer):
    with fake.serving(servicer) as address:
        yield address


@pytest.fixture
def pictures(tmp_path):
    """Three files: a green picture, a blue one, and one that is torn."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (9, 9), (0, 1, 0)).save(folder / "green.png")
    Image.new("RGB", (9, 9), (0, 0, 2)).save(folder / "blue.png")
    whole = (folder / "green.png").read_bytes()
    (folder / "torn.png").write_bytes(whole[:40])
    return folder
