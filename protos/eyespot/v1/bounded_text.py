"""Text files of a repository, read only as far as a sane one goes."""

from __future__ import annotations

from pathlib import Path

# Of config.pbtxt, which has some hundred bytes when we write it.
MOST_CONFIG_BYTES = 1 << 20


class TooLargeError(ValueError):
    """A file is larger than any that is meant can be."""


def read_bounded(path: Path, *, most_bytes: int) -> str:
    """Read a UTF-8 text file.

    Raises:
        TooLargeError: It has more than `most_bytes`; no more of it is read.
        OSError: It cannot be read.
        UnicodeDecodeError: It is not UTF-8.
    """
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise TooLargeError(f"it is larger than {most_bytes >> 10} KiB")
    return content.decode("utf-8").replace("\r\n", "\n")
