"""A server that a command starts for itself."""

import pytest
from tests.e2e.conftest import processes_about

from eyespot.cli.errors import CommandError
from eyespot.cli.server_process import running_server
from eyespot.client import Client


def test_it_answers_and_ends_with_code_0(tiny_repository, tmp_path):
    log = tmp_path / "server.log"
    with running_server(tiny_repository, log=log) as server:
        with Client(server.address) as client:
            assert client.model_ready("double")
        server.stop()
        assert processes_about(tiny_repository) == []
    assert "shutting down" in log.read_text()


def test_a_failure_in_between_leaves_no_server(tiny_repository, tmp_path):
    def interrupted():
        with running_server(tiny_repository, log=tmp_path / "server.log"):
            assert len(processes_about(tiny_repository)) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert processes_about(tiny_repository) == []


def test_why_it_did_not_start_is_told(tiny_repository, tmp_path, monkeypatch):
    monkeypatch.setenv("EYESPOT_SESSIONS", "many")
    with (
        pytest.raises(CommandError, match=r"exit code 2 before it was ready: .*EYESPOT_SESSIONS"),
        running_server(tiny_repository, log=tmp_path / "server.log"),
    ):
        pytest.fail("it cannot have started")


def test_an_end_that_is_no_good_one_is_told(tiny_repository, tmp_path):
    with running_server(tiny_repository, log=tmp_path / "server.log") as server:
        server._process.kill()
        with pytest.raises(CommandError, match="ended with exit code -9"):
            server.stop()
