"""How a command ends: with an exit code, and on failure with one line on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

OK = 0
FAILURE = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130  # 128 + SIGINT, as shells count


class CommandError(Exception):
    """A command cannot do what was asked; the message is for the user."""

    def __init__(self, message: str, *, exit_code: int = FAILURE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UsageError(CommandError):
    """The command line contradicts itself."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=USAGE)


@contextmanager
def telling(*user_errors: type[Exception]) -> Iterator[None]:
    """Turn the typed errors of a room into a line for the user; all others are bugs."""
    try:
        yield
    except user_errors as error:
        raise CommandError(_text(error)) from error


def _text(error: Exception) -> str:
    """What an error says; those of the system number themselves and quote the file."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror.lower()}"
    return str(error)


def tell_error(message: str) -> None:
    """Print one line on stderr."""
    print("eyespot: error:", " ".join(message.split()), file=sys.stderr)
