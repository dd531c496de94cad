"""What calls have loaded and unloaded, in a file without a name that outlives the server.

Its supervisor holds the file open, hands it to each server that it starts, and knows nothing of
what is in it. A server may be killed in the middle of a write: what was written before holds until
its successor is whole, so that the two take turns in the file.
"""

import json
import logging
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

_PLACE = struct.Struct("<QQ")  # at the beginning of the file: where the last is, and its bytes
_logger = logging.getLogger(__name__)


class LoadCall(NamedTuple):
    """The last call about a model that was carried out.

    Attributes:
        is_loaded: Whether it loaded the model, or unloaded it.
        config: The ModelConfig as JSON that stands in for config.pbtxt.
        brought_files: Whether the model is made of files that came with the call.
    """

    is_loaded: bool
    config: str | None = None
    brought_files: bool = False


class LoadCalls:
    """The last call about each model, from before the server was started anew, too.

    Args:
        descriptor: of the supervisor's file; None where there is none.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor
        self._start, self._length = _PLACE.size, 0
        self._calls: dict[str, LoadCall] = {}
        if descriptor is None:
            return
        try:
            os.set_inheritable(descriptor, False)  # not for what the server may start
            self._calls = self._read(descriptor)
        except (OSError, ValueError, struct.error) as error:
            self._descriptor = None
            _logger.warning("what calls had loaded is not known any more: %s", error)

    def __contains__(self, name: object) -> bool:
        """Whether a call has loaded or unloaded a model."""
        return name in self._calls

    def loaded(self) -> Iterator[tuple[str, LoadCall]]:
        """The models that calls have loaded, by their names."""
        return ((name, call) for name, call in self._calls.items() if call.is_loaded)

    def note(self, name: str, call: LoadCall) -> None:
        """Remembers a call; a full disk is no reason to fail it."""
        self._calls[name] = call
        if self._descriptor is None:
            return
        try:
            self._write(self._descriptor, json.dumps(self._calls).encode())
        except OSError as error:
            _logger.warning(
                "a server that is started anew will not know of the last call about %r: its notes "
                "cannot be written: %s",
                name,
                error.strerror,
            )

    def _read(self, descriptor: int) -> dict[str, LoadCall]:
        place = os.pread(descriptor, _PLACE.size, 0)
        if not any(place):  # the first server, or it had not come to the end of its first note
            return {}
        start, length = _PLACE.unpack(place)
        if start + length > os.fstat(descriptor).st_size:
            raise ValueError("the file ends before them")
        calls = json.loads(os.pread(descriptor, length, start))
        self._start, self._length = start, length
        return {name: LoadCall(*call) for name, call in calls.items()}

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
        "names, and not what calls have loaded; TMPDIR names another folder for it"
    )
    return None


def _write_all(descriptor: int, content: bytes, start: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, start)
        content, start = content[written:], start + written
