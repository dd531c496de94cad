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
    UnavailableError,
)
from eyespot.client.channel import DEFAULT_ADDRESS, server_address


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
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_number,
        default=60.0,
        help="time for each answer, and for a model that is being loaded (default 60)",
    )


@contextmanager
def connected(options: argparse.Namespace, *, retries: int = 3) -> Iterator[Client]:
    """Talk to the server; its refusals end the command."""
    with Client(options.server, timeout=options.timeout, retries=retries) as client:
        try:
            yield client
        except UnavailableError as error:
            raise _unavailable(options.server, error) from error
        except DeadlineExceededError as error:
            raise CommandError(
                f"the server at {options.server} did not answer within {options.timeout:g} s; "
                "--timeout gives it longer",
                exit_code=UNREACHABLE,
            ) from error
        except EyespotError as error:
            raise CommandError(str(error)) from error


def _unavailable(server: str, error: UnavailableError) -> CommandError:
    """Tell a server that says no from one that is not there: both are UNAVAILABLE."""
    try:
        with Client(server, timeout=5, retries=0) as client:
            client.server_live()
    except EyespotError:
        return CommandError(
            f"no server answers at {server}: {_reason(error.details)}", exit_code=UNREACHABLE
        )
    return CommandError(error.details, exit_code=FAILURE)


def _reason(details: str) -> str:
    """Take the last link of the chain in which gRPC tells why it could not connect."""
    reason = details.rpartition(": ")[2].strip(" ]")
    return reason[:1].lower() + reason[1:]


def _server(text: str) -> str:
    try:
        return server_address(text)
    except ClientError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
