"""Tokens from a file: who they belong to, and what they are good for.

Each table of the TOML file is a caller, who has a `token`, or the `sha256` of one so that
the file betrays nothing, and `rights`:

    [camera]
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    rights = ["infer", "explain"]

The file is read anew when it changes; one that cannot be used leaves the tokens as they were.
"""

import hashlib
import hmac
import logging
import os
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from eyespot.server.callers import Caller, Right
from eyespot.server.errors import StartError, UnauthenticatedError

# Whoever guesses may try as often as the network allows: 16 characters are too many to guess.
_SHORTEST_TOKEN = 16
_SHA256_DIGITS = 64
_LOOK_SECONDS = 1.0
_READABLE_BY_OTHERS = 0o004
_MOST_BYTES = 1 << 20
_logger = logging.getLogger(__name__)


class TokenFile:
    """The tokens that are known.

    Raises:
        StartError: the file cannot be used, and why.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._seen = self._fingerprint()
        self._callers = _read(path)
        self._next_look = clock() + _LOOK_SECONDS

    def caller(self, token: str) -> Caller:
        """Whose token it is.

        Raises:
            UnauthenticatedError: it is nobody's.
        """
        if self._clock() >= self._next_look:
            self.look()
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for known, caller in self._callers:  # all of them: time must not tell which came close
            if hmac.compare_digest(known, digest):
                found = caller
        if found is None:
            raise UnauthenticatedError("the server does not know the token")
        return found

    def look(self) -> None:
        """Reads the file if it has changed."""
        self._next_look = self._clock() + _LOOK_SECONDS
        found = self._fingerprint()
        if found == self._seen:
            return
        self._seen = found
        try:
            self._callers = _read(self._path)
        except StartError as error:
            _logger.error("tokens stay as they were: %s", error)
        else:
            _logger.info("tokens were read anew from %s", self._path)

    def _fingerprint(self) -> Hashable:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path) -> list[tuple[bytes, Caller]]:
    """The SHA-256 of each token, and whose it is."""
    import tomllib  # not for every start

    where = f"--token-file {path}"
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise StartError(f"{where} cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise StartError(f"{where} is larger than {_MOST_BYTES} bytes")
    try:
        tables = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        # Not what the parser says: it may quote a token.
        raise StartError(f"{where} is no TOML file: {_place(error)}") from None
    callers = [_caller(name, table, where) for name, table in tables.items()]
    if not callers:
        raise StartError(f"{where} has no token: a table for each caller is expected")
    if len({digest for digest, _ in callers}) < len(callers):
        raise StartError(f"{where} has one token twice")
    if mode & _READABLE_BY_OTHERS and any("token" in table for table in tables.values()):
        _logger.warning(
            "every user of this machine can read %s: chmod o-r, or keep the SHA-256 of the tokens",
            path,
        )
    return callers


def _caller(name: str, table: Any, where: str) -> tuple[bytes, Caller]:
    if not isinstance(table, dict):
        raise StartError(f"{where}: expected a table [NAME] for each caller, found a setting")
    where = f"{where} [{name}]"
    if unknown := table.keys() - {"token", "sha256", "rights"}:
        raise StartError(f"{where} has the unknown setting {min(unknown)!r}")
    rights = table.get("rights")
    known = [str(right) for right in Right]
    if not isinstance(rights, list) or not rights or not all(right in known for right in rights):
        raise StartError(f"{where}: expected rights, a list of some of {', '.join(known)}")
    return _digest(table, where), Caller(name, frozenset(map(Right, rights)))


def _digest(table: dict[str, Any], where: str) -> bytes:
    token, sha256 = table.get("token"), table.get("sha256")
    if isinstance(token, str) and sha256 is None:
        if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
            raise StartError(
                f"{where}: expected a token of at least {_SHORTEST_TOKEN} printable ASCII "
                "characters, such as `openssl rand -hex 32` gives"
            )
        return hashlib.sha256(token.encode()).digest()
    if isinstance(sha256, str) and token is None and len(sha256) == _SHA256_DIGITS:
        try:
            return bytes.fromhex(sha256)
        except ValueError:
            pass
    raise StartError(f"{where}: expected either a token or its sha256 of {_SHA256_DIGITS} digits")


def _place(error: Exception) -> str:
    text = str(error)
    return text[text.rindex("(at line") :] if "(at line" in text else type(error).__name__
