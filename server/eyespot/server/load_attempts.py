"""Which versions were being loaded when the server was killed: what killed it twice is left alone.

Native code that crashes over a model takes the process with it, and a server that is started anew
would load the model again, and die of it for ever. Several versions are loaded at once, and a death
does not say which of them it was: those that were in the middle of it are loaded one by one the
next time.
"""

import hashlib
import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal, NamedTuple, TypeAlias, TypeVar

from eyespot.server.loaded_version import fingerprint_of
from eyespot.server.notes import Notes
from eyespot.server.repository import BrokenModel, VersionFolder

_SUBJECT = "attempts"
_MOST_DEATHS = 2
_UNTIL = (
    "tried again when its files change, a load call asks for it, or the server is started by hand"
)
Part: TypeAlias = Literal["model", "explainer"]
_REASONS: dict[Part, str] = {
    "model": f"its load ended the server process twice; it is {_UNTIL}",
    "explainer": f"to load what explains it ended the server process twice; that is {_UNTIL}",
}
_logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")


class _Attempt(NamedTuple):
    """To load a version, or what explains it.

    Attributes:
        files: What they were, and the configuration.
        deaths: How many servers in a row were killed in the middle of it.
        is_running: Whether it has begun and not ended.
    """

    files: str
    deaths: int = 0
    is_running: bool = False


class LoadAttempts:
    """The attempts that a server is in the middle of, or that have killed the ones before it.

    Without a supervisor nothing is noted: nobody starts the server anew.

    Args:
        notes: where the next server finds them.
    """

    def __init__(self, notes: Notes | None = None) -> None:
        self._notes = notes or Notes()
        self._one_suspect = threading.Lock()
        self._changing = threading.Lock()
        found = {key: _Attempt(*told) for key, told in self._notes.about(_SUBJECT).items()}
        killed = self._notes.was_killed  # a server that ends of itself tells why
        self._attempts = {
            key: each._replace(deaths=each.deaths + (each.is_running and killed), is_running=False)
            for key, each in found.items()
        }

    def admit(self, found: VersionFolder | BrokenModel) -> VersionFolder | BrokenModel:
        """Gives back what may be loaded, and why not in place of what has killed the server."""
        if isinstance(found, BrokenModel) or not (reason := self.reason_against(found)):
            return found
        return BrokenModel(found.model_name, found.model_version, reason)

    def reason_against(self, folder: VersionFolder, part: Part = "model") -> str:
        """Why something of a version is not loaded; empty where it may be."""
        if self._last(folder, part).deaths < _MOST_DEATHS:
            return ""
        return _REASONS[part]

    def forgive(self, model_name: str) -> None:
        """Lets a model be tried again, for somebody asks for it."""
        with self._changing:
            for key in [each for each in self._attempts if each.startswith(f"{model_name}/")]:
                del self._attempts[key]

    def run(
        self, folder: VersionFolder, load: Callable[[], ResultT], *, part: Part = "model"
    ) -> ResultT:
        """Loads a version, and tells the next server if this one does not live to see its end."""
        if not self._notes.are_kept:
            return load()
        key, last = _key(folder, part), self._last(folder, part)
        with self._one_suspect if last.deaths else nullcontext():
            self._note(key, last._replace(is_running=True))
            try:
                return load()
            finally:
                self._note(key, None)

    def _last(self, folder: VersionFolder, part: Part) -> _Attempt:
        """What is known of the version as it is now."""
        if not self._notes.are_kept:
            return _Attempt("")
        now = _Attempt(_digest(folder))
        with self._changing:
            last = self._attempts.get(_key(folder, part), now)
        return last if last.files == now.files else now

    def _note(self, key: str, attempt: _Attempt | None) -> None:
        with self._changing:
            if attempt is None:
                self._attempts.pop(key, None)
            else:
                self._attempts[key] = attempt
            try:
                self._notes.tell(_SUBJECT, self._attempts)
            except OSError as error:
                _logger.warning(
                    "should the load of %s kill this server, the next would not know of it: its "
                    "notes cannot be written: %s",
                    key,
                    error.strerror,
                )


def _key(folder: VersionFolder, part: Part) -> str:
    return f"{folder.model_name}/{folder.model_version}/{part}"


def _digest(folder: VersionFolder) -> str:
    config = folder.config_file.message.SerializeToString(deterministic=True)
    return hashlib.sha256(repr((fingerprint_of(folder), config)).encode()).hexdigest()
