"""The process of a server: how it starts, and how it ends."""

import gc

import pytest

from eyespot.server import process
from eyespot.server.config import ServerConfig
from eyespot.server.errors import StartError


@pytest.mark.parametrize(("error", "code"), [(StartError("no"), 1), (KeyboardInterrupt(), 130)])
def test_what_ends_a_start_has_an_exit_code(tmp_path, monkeypatch, error, code):
    def end(*arguments):
        raise error

    monkeypatch.setattr(process, "_serve", end)
    monkeypatch.setattr(process.Log, "open", lambda log: None)
    assert process.run(ServerConfig(repository=tmp_path)) == code


def test_no_garbage_is_looked_for_while_modules_are_imported():
    before = gc.get_freeze_count()
    try:
        with process._nothing_collected():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
