"""Following the repository: what has changed in it is loaded, once it has stopped to change."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from pathlib import Path

from eyespot.server.config import ServerConfig
from eyespot.server.dataplane import Dataplane
from eyespot.server.errors import LoadError, ModelNotFoundError, StartError
from eyespot.server.loading_threads import LoadingThreads
from eyespot.server.repository import fingerprint, scan

_logger = logging.getLogger(__name__)


class Following:
    """Compares the repository with what was loaded of it.

    Args:
        dataplane: what is served.
        settings: where the repository is.
        threads: where it is read.
        fingerprints: of the files of each model when they were loaded; shared with the loader.
        load: loads a model anew.
        forget: takes out a model that is gone.
    """

    def __init__(
        self,
        dataplane: Dataplane,
        settings: ServerConfig,
        *,
        threads: LoadingThreads,
        fingerprints: dict[str, Hashable],
        load: Callable[[str], Awaitable[None]],
        forget: Callable[[str], Awaitable[None]],
    ) -> None:
        self._dataplane = dataplane
        self._settings = settings
        self._threads = threads
        self._fingerprints = fingerprints
        self._load = load
        self._forget = forget
        self._place: Hashable = None  # of the repository, when last there was a model in it
        self._loss = ""  # why the repository cannot be followed now

    def begin(self) -> None:
        """Remembers which folder the repository is."""
        self._place = _place_of(self._settings.repository)

    async def run(self) -> None:
        """Follows the changes of the repository, until it is cancelled."""
        changing: dict[str, Hashable] = {}
        while True:
            await asyncio.sleep(self._settings.repository_poll_seconds)
            try:
                await self._follow_once(changing)
            except StartError:
                pass  # told when it was lost
            except Exception:  # the next look may be luckier
                _logger.exception("the model repository could not be followed")

    async def refresh(self) -> list[str]:
        """Looks once, now, and takes what it finds as finished.

        With poll, everything that has changed is loaded; with explicit, of what is served.

        Returns:
            The names of the models that had changed.

        Raises:
            StartError: the repository cannot be read; what is served goes on.
        """
        if self._settings.model_control_mode == "poll":
            return await self._follow_once(None)
        await self._look()
        changed = []
        for name in sorted({model.name for model in self._dataplane.models()}):
            now = await self._threads.run(partial(fingerprint, self._settings.repository, name))
            if self._fingerprints.get(name, now) != now:
                changed.append(name)
                await self._load_unasked(name)
        return changed

    async def _follow_once(self, changing: dict[str, Hashable] | None) -> list[str]:
        """Loads what has changed, once it has stopped to change: a copy takes its time.

        Args:
            changing: what was seen at the last look; None where a change counts as finished.

        Returns:
            The names of the models that were loaded anew or are gone.
        """
        names = await self._look()
        changed = []
        for name in sorted(names | set(self._fingerprints)):
            now = await self._threads.run(partial(fingerprint, self._settings.repository, name))
            if name not in names:
                del self._fingerprints[name]
                await self._forget(name)
            elif now == self._fingerprints.get(name):
                if changing is not None:
                    changing.pop(name, None)
                continue
            elif changing is not None and changing.get(name, ...) != now:
                changing[name] = now
                continue
            else:
                await self._load_unasked(name)
            changed.append(name)
        return changed

    async def _look(self) -> set[str]:
        """Names the models of the repository.

        Raises:
            StartError: it cannot be read. The index says so of each model, which is served on.
        """
        try:
            names = await self._threads.run(self._names)
        except StartError as error:
            if str(error) != self._loss:
                _logger.error("models are served as they were loaded: %s", error)
            self._tell_loss(str(error))
            raise
        if self._loss:
            _logger.info("the model repository %s is back", self._settings.repository)
            self._tell_loss("")
        return names

    def _names(self) -> set[str]:
        repository = self._settings.repository
        names = {found.model_name for found in scan(repository)}
        place = _place_of(repository)
        if names:
            self._place = place
        elif self._place not in (None, place):
            # What lies below a file system that is not mounted any more is empty, too.
            raise StartError(
                f"the model repository {repository} is empty, and not the folder that it was: "
                "is it mounted?"
            )
        return names

    def _tell_loss(self, loss: str) -> None:
        before, self._loss = self._loss, loss
        for entry in self._dataplane.index():
            if entry.reason == before:
                self._dataplane.remark(entry.model_name, entry.model_version, loss)

    async def _load_unasked(self, name: str) -> None:
        try:
            await self._load(name)
        except LoadError as error:
            _logger.error("%s", error)
            self._remark(name, str(error))
        except ModelNotFoundError:
            self._remark(name, "its folder is gone from the repository")

    def _remark(self, name: str, reason: str) -> None:
        """Says in the index of what is served that its files are not what they were."""
        for version in self._dataplane.versions(name):
            self._dataplane.remark(name, version, f"served as it was loaded; {reason}")


def _place_of(repository: Path) -> Hashable:
    """What tells a folder from another that is put in its place; None while there is none."""
    try:
        status = repository.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
