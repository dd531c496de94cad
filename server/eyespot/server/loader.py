"""Which models are loaded and unloaded: at the start, by calls, and as the repository changes.

How a version takes the place of another without a call that fails is in version_swap.py.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from eyespot.server.config import ServerConfig
from eyespot.server.dataplane import Dataplane
from eyespot.server.errors import (
    LoadError,
    ModelNotFoundError,
    RepositoryError,
)
from eyespot.server.first_loads import FirstLoads, begin_first_loads
from eyespot.server.following import Following
from eyespot.server.load_attempts import LoadAttempts
from eyespot.server.load_calls import LoadCall, LoadCalls
from eyespot.server.loaded_version import LoadedVersion
from eyespot.server.loading_threads import LoadingThreads
from eyespot.server.repository import (
    BrokenModel,
    VersionFolder,
    fingerprint,
    has_model,
    is_model_name,
    model_names,
    scan_model,
    suggest_repository,
    write_files,
)
from eyespot.server.version_swap import VersionSwap

_UNLOADED = "unloaded"
# A model that came into the repository after the start, by model_control_mode.
_HOW_IT_IS_LOADED = {
    "explicit": "a load call loads it (such as tritonclient's load_model), and --load-model at the "
    "start of the server",
    "poll": "it will be, once its files have not changed for repository_poll_seconds",
    "none": "restart the server, or start it with --model-control-mode poll or explicit",
}
_logger = logging.getLogger(__name__)


class Loader:
    """Loads and unloads the models of one repository; use it from one event loop.

    Args:
        dataplane: what is served.
        settings: where the repository is, and how its models are loaded.
        on_change: awaited with the name of a model after calls may find it, or no more.
        first: what is being loaded already.
    """

    def __init__(
        self,
        dataplane: Dataplane,
        settings: ServerConfig,
        *,
        on_change: Callable[[str], Awaitable[None]],
        first: FirstLoads | None = None,
    ) -> None:
        self._dataplane = dataplane
        self._settings = settings
        self._on_change = on_change
        self._first = first
        self._threads = LoadingThreads() if first is None else first.threads
        self._calls = LoadCalls() if first is None else first.calls
        self._attempts = LoadAttempts() if first is None else first.attempts
        self._found: Sequence[VersionFolder | BrokenModel] = []
        self._begun: dict[tuple[str, str], Future[LoadedVersion]] = {}
        # One load of a model at a time: the last one asked for is the one that stays.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._fingerprints: dict[str, Hashable] = {}
        self._swap = VersionSwap(
            dataplane,
            settings,
            threads=self._threads,
            attempts=self._attempts,
            on_change=on_change,
        )
        self._following = Following(
            dataplane,
            settings,
            threads=self._threads,
            fingerprints=self._fingerprints,
            load=self._load,
            forget=self._forget,
        )

    def begin(self) -> None:
        """Begins to load what the repository wants served, if that has not been begun.

        Raises:
            StartError: as `begin_first_loads`.
        """
        first = self._first or begin_first_loads(
            self._settings, self._threads, calls=self._calls, attempts=self._attempts
        )
        self._first = None  # what was loaded and is taken out again must not stay in memory
        self._found, self._begun = first.found, first.begun
        self._fingerprints.update(first.fingerprints)
        self._following.begin()

    async def load_all(self) -> None:
        """Loads what was found; afterwards each is ready, or unavailable with its reason.

        Raises:
            StartError: nothing can be served at all.
        """
        for found in self._found:
            if isinstance(found, BrokenModel):
                self._swap.mark_unavailable(found)
            else:
                self._dataplane.expect(found.model_name, found.model_version)
        for name in {found.model_name for found in self._found}:
            await self._on_change(name)
        self._dataplane.expect_no_more()
        folders = [found for found in self._found if isinstance(found, VersionFolder)]
        await asyncio.gather(*map(self._load_at_start, folders))

    def hint(self) -> str:
        """What may help where no model is ready."""
        repository = self._settings.repository
        is_explicit = self._settings.model_control_mode == "explicit"
        if is_explicit and not self._settings.load_model and not self._found:
            return ": none was named by --load-model, calls may load them"
        meant = suggest_repository(repository)
        if meant is not None:
            return f"; is {meant} meant?"
        if self._found:
            return ": the reasons are above"
        return f": nothing was found, expected {repository}/<model>/<version>/model.onnx"

    async def load(
        self,
        name: str,
        *,
        config: str | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Loads the versions of a model as they are now, in place of those that are served.

        Args:
            name: of the model.
            config: a ModelConfig as JSON that stands in for config.pbtxt.
            files: by their paths in the folder of the model, such as 1/model.onnx; the model is
                made of these, and what the repository has of it does not count.

        Raises:
            ModelNotFoundError: the repository has no such model.
            LoadError: no version can be loaded, and what was served before still is; or calls
                may load nothing, or bring no files.
        """
        failed = f"failed to load '{name}'"
        self._check_calls_may(failed)
        self._attempts.forgive(name)
        if not files:
            _check_name(name, failed)
            await self._load(name, config=config)
            return
        if not self._settings.load_files:
            raise LoadError(
                f"{failed}, calls may not bring files; start the server with --load-files, or put "
                "them into the model repository"
            )
        import tempfile  # not for every start

        try:
            workspace = tempfile.TemporaryDirectory(prefix="eyespot-", ignore_cleanup_errors=True)
        except OSError as error:
            raise LoadError(
                f"{failed}, its files cannot be written: {error.strerror}; TMPDIR names another "
                "folder for them"
            ) from error
        with workspace as folder:
            try:
                await self._threads.run(partial(write_files, Path(folder), name, files))
            except RepositoryError as error:
                raise LoadError(f"{failed}, {error}") from error
            await self._load(name, config=config, repository=Path(folder))

    async def never_loaded(self) -> list[str]:
        """Names the models of the repository that nobody has asked for yet."""
        if self._settings.model_control_mode != "explicit":
            return []  # all are known
        names = await self._threads.run(partial(model_names, self._settings.repository))
        return sorted(names - {entry.model_name for entry in self._dataplane.index()})

    def is_known_by_call(self, name: str) -> bool:
        """Whether a call has loaded or unloaded a model, be it before a restart."""
        return name in self._calls

    async def unload(self, name: str) -> None:
        """Takes a model out; what it has admitted is answered.

        Raises:
            ModelNotFoundError: nothing of it is known.
            LoadError: calls may unload nothing.
        """
        failed = f"failed to unload '{name}'"
        self._check_calls_may(failed)
        _check_name(name, failed)
        async with self._locks[name]:
            if not self._dataplane.versions(name):
                raise ModelNotFoundError(f"{failed}, there is no such model")
            await self._swap.remove(name, reason=_UNLOADED)
            self._calls.note(name, LoadCall(is_loaded=False))
            _logger.info("model %r is unloaded", name)

    async def follow(self) -> None:
        """Follows the changes of the repository, until it is cancelled."""
        await self._following.run()

    async def refresh(self) -> list[str]:
        """Looks once, now, and takes what it finds as finished.

        Returns:
            The names of the models that had changed.

        Raises:
            StartError: the repository cannot be read; what is served goes on.
        """
        return await self._following.refresh()

    async def drain(self) -> None:
        """Waits until every version that was taken out has answered what it had admitted."""
        await self._swap.drain()

    def close(self) -> None:
        """Lets go of the threads; what they are in the middle of is not waited for."""
        self._threads.close()

    def _check_calls_may(self, failed: str) -> None:
        mode = self._settings.model_control_mode
        if mode != "explicit":
            raise LoadError(
                f"{failed}, explicit model load / unload is not allowed with model_control_mode "
                f"{mode}; start the server with --model-control-mode explicit"
            )

    async def _load_at_start(self, folder: VersionFolder) -> None:
        begun = self._begun.pop((folder.model_name, folder.model_version))
        await self._swap.load_at_start(folder, asyncio.wrap_future(begun))

    async def _load(
        self, name: str, *, config: str | None = None, repository: Path | None = None
    ) -> None:
        async with self._locks[name]:
            folder = repository or self._settings.repository
            seen = await self._threads.run(partial(fingerprint, folder, name))
            found = await self._threads.run(partial(scan_model, folder, name, config=config))
            if not found:
                raise ModelNotFoundError(
                    f"failed to load '{name}', the model repository has no such model"
                )
            if repository is None:
                self._fingerprints[name] = seen
            else:  # the repository does not count for what brings its own files
                self._fingerprints.pop(name, None)
            loaded, broken = await self._swap.try_all(found)
            if not loaded:
                known = self._dataplane.versions(name)
                for each in broken:
                    # What is broken as a whole is told to the caller alone while it is served.
                    if each.model_version not in known and (each.model_version or not known):
                        self._swap.mark_unavailable(each)
                raise LoadError(f"failed to load '{name}', {broken[0].reason}")
            await self._swap.swap(name, loaded, broken)
            if self._settings.model_control_mode == "explicit":
                brought_files = repository is not None
                self._calls.note(name, LoadCall(True, config, brought_files=brought_files))

    async def _forget(self, name: str) -> None:
        async with self._locks[name]:
            await self._swap.remove(name, reason="")
            _logger.info("model %r is gone from the repository", name)


def advice_on_unserved(settings: ServerConfig, name: str) -> str:
    """What to do for a model that nobody has loaded; empty where there is none in the repository.

    Args:
        settings: where the repository is, and how its models are loaded.
        name: that a call bears.
    """
    if not has_model(settings.repository, name):
        return ""
    how = _HOW_IT_IS_LOADED[settings.model_control_mode]
    return f"the model repository has it, but it is not loaded: {how}"


def _check_name(name: str, failed: str) -> None:
    """Before anything is remembered under a name that no model can have."""
    if not is_model_name(name):
        raise ModelNotFoundError(f"{failed}, there is no such model")
