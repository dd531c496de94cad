"""What a server tells the one that takes its place, in a file without a name that outlives it.

Its supervisor holds the file open, hands it to each server that it starts, and knows nothing of
what is in it. A server may be killed in the middle of a write: what was written before holds until
its successor is whole, so that the two take turns in the file.
"""

import json
import logging
import os
import struct
import threading
from contextlib import suppress
from typing import Any

_PLACE = struct.Struct("<QQ")  # at the beginning of the file: where the last is, and its bytes
_logger = logging.getLogger(__name__)


class Notes:
    """What there is to tell, by subject; may be shared by threads.

    Args:
        descriptor: of the supervisor's file; None where there is none.
        was_killed: whether a signal ended the server before this one.
    """

    def __init__(self, descriptor: int | None = None, *, was_killed: bool = False) -> None:
        self.was_killed = was_killed
        self._descriptor = descriptor
        self._start, self._length = _PLACE.size, 0
        self._told: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        if descriptor is None:
            return
        try:
            os.set_inheritable(descriptor, False)  # not for what the server may start
            self._told = self._read(descriptor)
        except (OSError, ValueError, struct.error) as error:
            self._descriptor = None
            _logger.warning("what calls had loaded is not known any more: %s", error)

    @property
    def are_kept(self) -> bool:
        """Whether anything that is told reaches another server."""
        return self._descriptor is not None

    def about(self, subject: str) -> dict[str, Any]:
        """What was told last about a subject."""
        return self._told.get(subject, {})

    def tell(self, subject: str, told: dict[str, Any]) -> None:
        """Replaces what was told about a subject.

        Raises:
            OSError: it cannot be written, as on a full disk.
        """
        with self._lock:
            self._told[subject] = dict(told)  # the caller's may change in the middle of a write
            if self._descriptor is not None:
                self._write(self._descriptor, json.dumps(self._told).encode())

    def _read(self, descriptor: int) -> dict[str, dict[str, Any]]:
        place = os.pread(descriptor, _PLACE.size, 0)
        if not any(place):  # the first server, or it had not come to the end of its first note
            return {}
        start, length = _PLACE.unpack(place)
        if start + length > os.fstat(descriptor).st_size:
            raise ValueError("the file ends before them")
        told: dict[str, dict[str, Any]] = json.loads(os.pread(descriptor, length, start))
        self._start, self._length = start, length
        return told

    def _write(self, descriptor: int, content: bytes) -> None:
        start = _PLACE.size
        if start + len(content) > self._start:  # before the last there is not room for it
            start = self._start + self._length
        _write_all(descriptor, content, start)
        _write_all(descriptor, _PLACE.pack(start, len(content)), 0)
        self._start, self._length = start, len(content)


def open_notes() -> int | None:
    """Makes the file, which is gone with the last process that holds it; None where none can be."""
    import tempfile  # of the supervisor alone, not of every start

    with suppress(OSError), tempfile.TemporaryFile(prefix="eyespot-") as file:
        return os.dup(file.fileno())
    _logger.warning(
        "no temporary file can be made: a server that is started anew serves what load_model "
        "names, and not what calls have loaded, and tries again what killed it; TMPDIR names "
        "another folder for it"
    )
    return None


def _write_all(descriptor: int, content: bytes, start: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, start)
        content, start = content[written:], start + written
