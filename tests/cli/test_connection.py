"""How a command connects, and what it says when it cannot."""

import argparse
import os
import subprocess
import sys

import grpc
import pytest

from eyespot.cli.connection import add_server_arguments, connected, plain_reason
from eyespot.cli.errors import UNREACHABLE, CommandError
from eyespot.client import UnavailableError

SILENT = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:8001: connection "
    "attempt timed out before receiving SETTINGS frame"
)


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ("last error: a: b: Socket closed", "may want TLS"),
        ("Tls handshake failed: error:1000007d:SSL: CERTIFICATE_VERIFY_FAILED: x: OK", "authority"),
        ("Hostname Verification Check failed.", "another name"),
        ("error:100000f7:WRONG_VERSION_NUMBER: y: OK", "does not speak TLS"),
        ("last error: x: Connection refused", "connection refused"),
        (SILENT, "takes connections and says nothing"),
    ],
)
def test_why_no_connection_came_about_is_told_plainly(details, expected):
    assert expected in plain_reason(details)


def test_a_server_that_goes_while_it_answers_is_said_to_be_gone():
    parser = argparse.ArgumentParser()
    add_server_arguments(parser)
    options = parser.parse_args(["--server", "127.0.0.1:1"])  # where nobody listens by now
    connection = connected(options, is_patient=False)
    with pytest.raises(CommandError, match="connection refused") as raised, connection:
        raise UnavailableError(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    assert raised.value.exit_code == UNREACHABLE


@pytest.mark.parametrize(
    ("details", "message", "code"),
    [
        (SILENT, "no server answered at .*: .* says nothing; now one does, so try again", 3),
        ("the server has too much to do", "^the server has too much to do$", 1),
    ],
)
def test_a_server_that_was_silent_is_told_from_one_that_says_no(address, details, message, code):
    parser = argparse.ArgumentParser()
    add_server_arguments(parser)
    connection = connected(parser.parse_args(["--server", address]), is_patient=False)
    with pytest.raises(CommandError, match=message) as raised, connection:
        raise UnavailableError(grpc.StatusCode.UNAVAILABLE, details)
    assert raised.value.exit_code == code


@pytest.fixture
def told(servicer, monkeypatch):
    """The metadata of each call that the fake server gets."""
    found = []
    ready = servicer.ServerReady

    def note(request, context):
        found.append(dict(context.invocation_metadata()).get("authorization"))
        return ready(request, context)

    monkeypatch.setattr(servicer, "ServerReady", note)
    return found


TOKEN = "a token that is a secret"


def test_a_token_is_sent_and_never_shown(run, told, address, monkeypatch):
    assert run("status", "--server", address).code == 1  # the fake one is not ready
    ran = run("status", "--server", address, "--token", TOKEN)
    monkeypatch.setenv("EYESPOT_TOKEN", TOKEN)
    also = run("status", "--server", address)
    assert told == [None, f"Bearer {TOKEN}", f"Bearer {TOKEN}"]
    helped = run("status", "--help")
    wrong = run("status", "--server", "nowhere.invalid:1", "--timeout", 1)
    for each in (ran, also, helped, wrong):
        assert TOKEN not in each.out + each.err
    assert "EYESPOT_TOKEN" in helped.out


@pytest.mark.parametrize("token", ["two\nlines", "schlüssel"])
def test_a_token_that_cannot_be_sent_is_told_without_it(run, address, token):
    ran = run("status", "--server", address, "--token", token)
    assert (ran.code, token in ran.err) == (1, False)
    assert "printable ASCII" in ran.err


def test_a_certificate_needs_its_key(run, address):
    ran = run("status", "--server", address, "--tls-certificate", "mine.pem")
    assert (ran.code, "give both" in ran.err) == (1, True)
    ran = run("status", "--server", address, "--tls-ca", "missing.pem")
    assert "missing.pem cannot be read" in ran.err


@pytest.mark.parametrize("asked", [{}, {"GRPC_VERBOSITY": "INFO"}])
def test_what_grpc_logs_by_itself_is_for_those_who_ask_for_it(asked):
    # A trace is of the level of what it tells of connections that end, and comes each time.
    usual = {key: value for key, value in os.environ.items() if key != "GRPC_VERBOSITY"}
    ran = subprocess.run(
        [sys.executable, "-m", "eyespot.cli", "status", "--server", "127.0.0.1:1"],
        env={**usual, "GRPC_TRACE": "channel", **asked}, capture_output=True, text=True,
    )  # fmt: skip
    lines = ran.stderr.splitlines()
    [told] = [line for line in lines if line.startswith("eyespot: error: no server answers")]
    assert (lines != [told]) == bool(asked)
