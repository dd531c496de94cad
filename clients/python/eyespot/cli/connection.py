"""The server that a command talks to, and its errors as exit codes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from eyespot.cli.argument_types import positive_number
from eyespot.cli.errors import FAILURE, UNREACHABLE, CommandError
from eyespot.client import (
    Client,
    ClientError,
    DeadlineExceededError,
    EyespotError,
    UnauthenticatedError,
    UnavailableError,
)
from eyespot.client.channel import DEFAULT_ADDRESS, server_address
from eyespot.client.steps import RetryPolicy

# How often a server is looked for that was not seen yet: where there is none, that is told soon.
_FIRST_RETRIES = 3


def add_server_arguments(parser: argparse.ArgumentParser, *, is_optional: bool = False) -> None:
    """Let the user say which server, and how long to wait for it.

    Args:
        parser: To add to.
        is_optional: The command can do without a server, and does unless one is named.
    """
    parser.add_argument(
        "--server",
        metavar="HOST[:PORT]",
        type=_server,
        default=None if is_optional else os.environ.get("EYESPOT_SERVER") or DEFAULT_ADDRESS,
        help="address of a server to ask (default: in this process)"
        if is_optional
        else f"address of the server (default {DEFAULT_ADDRESS}) [EYESPOT_SERVER]",
    )
    _add_security_arguments(parser)
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_number,
        default=60.0,
        help="time for each answer, and for a model that is being loaded (default 60)",
    )


def _add_security_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tls", action="store_true", help="connect by TLS")
    parser.add_argument(
        "--tls-ca",
        metavar="FILE",
        default=os.environ.get("EYESPOT_TLS_CA") or None,
        help="connect by TLS, to a server whose certificate is of this authority (PEM) "
        "[EYESPOT_TLS_CA]",
    )
    parser.add_argument(
        "--tls-certificate", metavar="FILE", help="certificate to show to the server (PEM)"
    )
    parser.add_argument("--tls-key", metavar="FILE", help="its key (PEM)")
    parser.add_argument(
        "--token",
        default=os.environ.get("EYESPOT_TOKEN") or None,
        help="tells the server who calls; other users of this machine can read command lines, "
        "so that the variable is the better place [EYESPOT_TOKEN]",
    )


@contextmanager
def connected(options: argparse.Namespace, *, is_patient: bool = True) -> Iterator[Client]:
    """Talk to the server; its refusals end the command.

    Args:
        options: Of the command line.
        is_patient: Whether a server that was there is waited for when it is gone, as while it is
            restarted.
    """
    with _ending_by_refusals(options):
        if is_patient:
            with _client(options, timeout=options.timeout, retries=_FIRST_RETRIES) as client:
                client.server_live()
        retries = RetryPolicy.retries if is_patient else 0
        with _client(options, timeout=options.timeout, retries=retries) as client:
            yield client


@contextmanager
def _ending_by_refusals(options: argparse.Namespace) -> Iterator[None]:
    try:
        yield
    except UnavailableError as error:
        raise _unavailable(options, error) from error
    except DeadlineExceededError as error:
        raise CommandError(
            f"the server at {options.server} did not answer within {options.timeout:g} s; "
            "--timeout gives it longer",
            exit_code=UNREACHABLE,
        ) from error
    except UnauthenticatedError as error:
        raise CommandError(f"{error.details}; here, EYESPOT_TOKEN holds it") from error
    except EyespotError as error:
        raise CommandError(str(error)) from error


def _client(options: argparse.Namespace, *, timeout: float, retries: int) -> Client:
    try:
        return Client(
            options.server,
            timeout=timeout,
            retries=retries,
            tls=options.tls,
            ca=options.tls_ca,
            certificate=options.tls_certificate,
            key=options.tls_key,
            token=options.token,
        )
    except ClientError as error:
        raise CommandError(str(error)) from error


def _unavailable(options: argparse.Namespace, error: UnavailableError) -> CommandError:
    """Tell a server that says no from one that is not there: both are UNAVAILABLE."""
    try:
        with _client(options, timeout=5, retries=0) as client:
            client.server_live()
    except UnavailableError as again:  # tells why now; at first it may have been under way
        error = again
    except EyespotError:
        pass
    else:
        if not error.details.startswith(_NO_CONNECTION):
            return CommandError(error.details, exit_code=FAILURE)
        return CommandError(
            f"no server answered at {options.server}: {plain_reason(error.details)}; now one "
            "does, so try again",
            exit_code=UNREACHABLE,
        )
    return CommandError(
        f"no server answers at {options.server}: {plain_reason(error.details)}",
        exit_code=UNREACHABLE,
    )


# What gRPC says where no connection comes about, and what that means to the user.
_NO_CONNECTION = "failed to connect to all addresses"
_REASONS = {
    "before receiving SETTINGS frame": "what listens there takes connections and says nothing",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not of the authority in --tls-ca",
    "Hostname Verification": "its certificate is for another name than the one in --server",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "Socket closed": "it ends the connection at once; it may want TLS (--tls-ca), or a "
    "certificate (--tls-certificate)",
}


def plain_reason(details: str) -> str:
    """Take the last link of the chain in which gRPC tells why it could not connect."""
    for sign, reason in _REASONS.items():
        if sign in details:
            return reason
    reason = details.rpartition(": ")[2].strip(" ]")
    return reason[:1].lower() + reason[1:]


def _server(text: str) -> str:
    try:
        return server_address(text)
    except ClientError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
