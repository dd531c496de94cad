"""Versions in place of others: loaded beside them, then asked in their stead, then let go.

What a version that is replaced has admitted is answered before its memory is given back.
"""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from eyespot.server.config import ServerConfig
from eyespot.server.dataplane import Dataplane
from eyespot.server.errors import (
    NotExplainableError,
    RepositoryError,
    RequestError,
    StartError,
)
from eyespot.server.explainer_loading import load_explainer
from eyespot.server.load_attempts import LoadAttempts
from eyespot.server.loaded_version import LoadedVersion
from eyespot.server.loading_threads import LoadingThreads
from eyespot.server.model import Model
from eyespot.server.repository import BrokenModel, VersionFolder
from eyespot.server.version_loading import load_version
from eyespot.server.waiting_bytes import WaitingBytes

if TYPE_CHECKING:
    from eyespot.server.explainer import Explainer

_logger = logging.getLogger(__name__)


class VersionSwap:
    """Brings versions into the dataplane and out of it.

    Args:
        dataplane: what is served.
        settings: how versions are loaded.
        threads: where they are loaded.
        attempts: notes what is being loaded, and knows what has killed the server.
        on_change: awaited with the name of a model after calls may find it, or no more.
    """

    def __init__(
        self,
        dataplane: Dataplane,
        settings: ServerConfig,
        *,
        threads: LoadingThreads,
        attempts: LoadAttempts,
        on_change: Callable[[str], Awaitable[None]],
    ) -> None:
        self._dataplane = dataplane
        self._settings = settings
        self._threads = threads
        self._attempts = attempts
        self._on_change = on_change
        self._waiting_bytes = WaitingBytes(settings.max_waiting_bytes)
        self._retiring: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Future[None]] = set()

    async def load_at_start(self, folder: VersionFolder, loading: Awaitable[LoadedVersion]) -> None:
        """Takes up a version where none is served yet: it answers before it can be explained.

        Args:
            folder: of the version.
            loading: what has been begun with it.
        """
        outcome = await self._outcome(folder, loading)
        if isinstance(outcome, LoadedVersion):
            model = await self._take_up(outcome)
            model.take_explainer(await self._explainer_of(outcome))
        else:
            self.mark_unavailable(outcome)

    async def swap(
        self, name: str, loaded: Sequence[LoadedVersion], broken: Sequence[BrokenModel]
    ) -> None:
        """Sends calls to the new versions, and retires the old ones."""
        for version in loaded:
            # First, so that explaining never pauses: the old version explains meanwhile.
            explainer = await self._explainer_of(version)
            model = await self._take_up(version)
            model.take_explainer(explainer)
        for each in broken:
            self._retire(self._dataplane.remove(name, each.model_version, reason=each.reason))
            self.mark_unavailable(each)
        kept = {version.folder.model_version for version in loaded} | {
            each.model_version for each in broken
        }
        for number in self._dataplane.versions(name):
            if number not in kept:
                self._retire(self._dataplane.remove(name, number, reason=""))
        await self._on_change(name)

    async def remove(self, name: str, *, reason: str) -> None:
        """Takes out every version of a model; without a reason nothing is remembered of it."""
        for version in self._dataplane.versions(name):
            self._retire(self._dataplane.remove(name, version, reason=reason))
        await self._on_change(name)

    async def drain(self) -> None:
        """Waits until every version that was taken out has answered what it had admitted."""
        while self._retiring:
            await asyncio.wait(set(self._retiring))

    async def _explainer_of(self, loaded: LoadedVersion) -> "Explainer | RequestError":
        folder = loaded.folder
        reason = await self._threads.run(
            partial(self._attempts.reason_against, folder, "explainer")
        )
        if reason:
            name = f"model {folder.model_name!r} version {folder.model_version}"
            _logger.error("%s cannot be explained: %s", name, reason)
            return NotExplainableError(f"{name}: {reason}")
        load = partial(load_explainer, loaded, self._settings)
        return await self._threads.run(partial(self._attempts.run, folder, load, part="explainer"))

    async def _take_up(self, loaded: LoadedVersion) -> Model:
        model = Model(
            loaded,
            self._settings,
            waiting_bytes=self._waiting_bytes,
            on_change=self._note_readiness,
        )
        self._retire(self._dataplane.add(model))
        await self._on_change(model.name)
        _logger.info("model %r version %s is ready", model.name, model.version)
        return model

    async def try_all(
        self, found: Sequence[VersionFolder | BrokenModel]
    ) -> tuple[list[LoadedVersion], list[BrokenModel]]:
        """Loads versions side by side; those that cannot be loaded say why."""
        outcomes = await asyncio.gather(*map(self._try, found))
        loaded = [each for each in outcomes if isinstance(each, LoadedVersion)]
        return loaded, [each for each in outcomes if isinstance(each, BrokenModel)]

    async def _try(self, found: VersionFolder | BrokenModel) -> LoadedVersion | BrokenModel:
        admitted = await self._threads.run(partial(self._attempts.admit, found))
        if isinstance(admitted, BrokenModel):
            return admitted
        load = partial(load_version, admitted, self._settings)
        loading = self._threads.run(partial(self._attempts.run, admitted, load))
        return await self._outcome(admitted, loading)

    async def _outcome(
        self, folder: VersionFolder, loading: Awaitable[LoadedVersion]
    ) -> LoadedVersion | BrokenModel:
        name, version = folder.model_name, folder.model_version
        try:
            return await loading
        except RepositoryError as error:
            return BrokenModel(name, version, str(error))
        except StartError:
            raise
        except Exception as error:
            # Ours, but no reason to keep the other models from being served.
            _logger.exception("model %r version %s failed to load", name, version)
            return BrokenModel(name, version, f"{type(error).__name__}: {error}")

    def _note_readiness(self, model: Model) -> None:
        if self._dataplane.note_readiness(model):
            telling = asyncio.ensure_future(self._on_change(model.name))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    def _retire(self, model: Model | None) -> None:
        if model is None:
            return
        task = asyncio.ensure_future(_end(model))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def mark_unavailable(self, broken: BrokenModel) -> None:
        """Tells that a version cannot be served, and why."""
        name, version, reason = broken.model_name, broken.model_version, broken.reason
        self._dataplane.mark_unavailable(name, version, reason)
        _logger.error("model %r version %s is unavailable: %s", name, version or "-", reason)


async def _end(model: Model) -> None:
    """Answers what was admitted, and gives the memory back."""
    await model.drain()
    model.close()
    del model
    # A captured graph and a batcher hold on to themselves; weights are too large to wait.
    gc.collect()
