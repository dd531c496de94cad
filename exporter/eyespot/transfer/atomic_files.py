"""A file that is written whole or not at all: who reads it meanwhile sees the old one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to; what is there at the end takes the place of `path`.

    Args:
        path: Its folder is made.

    Raises:
        OSError: The folder cannot be written to, or the disk is full; `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that the renaming stays within one file system.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        written = Path(folder) / path.name
        written.touch()
        mode = written.stat().st_mode  # what the umask allows; some writers allow less
        yield written
        written.chmod(mode)
        written.replace(path)
