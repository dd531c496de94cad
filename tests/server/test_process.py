"""The process of a server: how it starts, and how it ends."""

import gc
import os
import signal

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


def test_sigterm_ends_well_before_the_event_loop_listens(tmp_path, monkeypatch):
    ended = []

    def begin(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return 7

    monkeypatch.setattr(process, "_serve", begin)
    monkeypatch.setattr(process.Log, "open", lambda log: None)
    monkeypatch.setattr(os, "_exit", ended.append)
    before = signal.signal(signal.SIGTERM, lambda *_: ended.append("killed"))
    try:
        assert process.run(ServerConfig(repository=tmp_path)) == 7
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended == [0, "killed"]


def test_no_garbage_is_looked_for_while_modules_are_imported():
    before = gc.get_freeze_count()
    try:
        with process._nothing_collected():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
