import os
import signal
import subprocess

import pytest

from eyespot.cli import server_process


def test_an_interruption_while_the_server_is_made_leaves_none(tmp_path, monkeypatch):
    made = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *words, **options):
            super().__init__(*words, **options)
            made.append(self)
            os.kill(os.getpid(), signal.SIGINT)  # before anybody holds the process

    monkeypatch.setattr(server_process.subprocess, "Popen", Interrupted)
    before = signal.getsignal(signal.SIGINT)
    with (
        pytest.raises(KeyboardInterrupt),
        server_process.running_server(tmp_path, log=tmp_path / "log"),
    ):
        pytest.fail("it went on")
    assert made[0].poll() is not None
    assert signal.getsignal(signal.SIGINT) is before
