"""Model versions into the dataplane and out of it, without a call that fails on the way.

A version is loaded and warmed up beside the one it replaces; then calls go to the new one,
and the old one answers what it has admitted before its memory is given back.
"""

import asyncio
import gc
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.server.config import ServerConfig
from eyespot.server.dataplane import Dataplane
from eyespot.server.errors import (
    LoadError,
    ModelNotFoundError,
    RepositoryError,
    RequestError,
    StartError,
)
from eyespot.server.explainer_loading import load_explainer
from eyespot.server.first_loads import FirstLoads, begin_first_loads
from eyespot.server.loaded_version import LoadedVersion
from eyespot.server.loading_threads import LoadingThreads
from eyespot.server.model import Model
from eyespot.server.repository import (
    BrokenModel,
    VersionFolder,
    fingerprint,
    is_model_name,
    model_names,
    scan,
    scan_model,
    suggest_repository,
    write_files,
)
from eyespot.server.version_loading import load_version
from eyespot.server.waiting_bytes import WaitingBytes

if TYPE_CHECKING:
    from eyespot.server.explainer import Explainer

_UNLOADED = "unloaded"
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
        self._waiting_bytes = WaitingBytes(settings.max_waiting_bytes)
        self._first = first
        self._threads = LoadingThreads() if first is None else first.threads
        self._found: Sequence[VersionFolder | BrokenModel] = []
        self._begun: dict[tuple[str, str], Future[LoadedVersion]] = {}
        # One load of a model at a time: the last one asked for is the one that stays.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._retiring: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Future[None]] = set()
        self._fingerprints: dict[str, Hashable] = {}
        self._place: Hashable = None  # of the repository, when last there was a model in it
        self._loss = ""  # why the repository cannot be followed now

    def begin(self) -> None:
        """Begins to load what the repository wants served, if that has not been begun.

        Raises:
            StartError: as `begin_first_loads`.
        """
        first = self._first or begin_first_loads(self._settings, self._threads)
        self._first = None  # what was loaded and is taken out again must not stay in memory
        self._found, self._begun, self._fingerprints = first.found, first.begun, first.fingerprints
        self._place = _place_of(self._settings.repository)

    async def load_all(self) -> None:
        """Loads what was found; afterwards each is ready, or unavailable with its reason.

        Raises:
            StartError: nothing can be served at all.
        """
        for found in self._found:
            if isinstance(found, BrokenModel):
                self._mark_unavailable(found)
            else:
                self._dataplane.expect(found.model_name, found.model_version)
        for name in {found.model_name for found in self._found}:
            await self._on_change(name)
        self._dataplane.expect_no_more()
        folders = [found for found in self._found if isinstance(found, VersionFolder)]
        await asyncio.gather(*(self._load_at_start(folder) for folder in folders))

    def hint(self) -> str:
        """What may help where no model is ready."""
        repository = self._settings.repository
        if self._settings.model_control_mode == "explicit" and not self._settings.load_model:
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
        if not files:
            _check_name(name, failed)
            await self._load(name, config)
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
            await self._load(name, config, repository=Path(folder))

    async def never_loaded(self) -> list[str]:
        """Names the models of the repository that nobody has asked for yet."""
        if self._settings.model_control_mode != "explicit":
            return []  # all are known
        names = await self._threads.run(partial(model_names, self._settings.repository))
        return sorted(names - {entry.model_name for entry in self._dataplane.index()})

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
            versions = self._dataplane.versions(name)
            if not versions:
                raise ModelNotFoundError(f"{failed}, there is no such model")
            for version in versions:
                self._retire(self._dataplane.remove(name, version, reason=_UNLOADED))
            await self._on_change(name)
            _logger.info("model %s is unloaded", name)

    async def follow(self) -> None:
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

    async def drain(self) -> None:
        """Waits until every version that was taken out has answered what it had admitted."""
        while self._retiring:
            await asyncio.wait(set(self._retiring))

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

    async def _load(self, name: str, config: str | None, *, repository: Path | None = None) -> None:
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
            loaded, broken = await self._try_all(found)
            if not loaded:
                known = self._dataplane.versions(name)
                for each in broken:
                    # What is broken as a whole is told to the caller alone while it is served.
                    if each.model_version not in known and (each.model_version or not known):
                        self._mark_unavailable(each)
                raise LoadError(f"failed to load '{name}', {broken[0].reason}")
            await self._swap(name, loaded, broken)

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
            await self._load(name, None)
        except LoadError as error:
            _logger.error("%s", error)
            self._remark(name, str(error))
        except ModelNotFoundError:
            self._remark(name, "its folder is gone from the repository")

    def _remark(self, name: str, reason: str) -> None:
        """Says in the index of what is served that its files are not what they were."""
        for version in self._dataplane.versions(name):
            self._dataplane.remark(name, version, f"served as it was loaded; {reason}")

    async def _forget(self, name: str) -> None:
        async with self._locks[name]:
            for version in self._dataplane.versions(name):
                self._retire(self._dataplane.remove(name, version, reason=""))
            await self._on_change(name)
            _logger.info("model %s is gone from the repository", name)

    async def _load_at_start(self, folder: VersionFolder) -> None:
        outcome = await self._try(folder)
        if isinstance(outcome, LoadedVersion):
            model = await self._take_up(outcome)
            model.take_explainer(await self._explainer_of(outcome))
        else:
            self._mark_unavailable(outcome)

    async def _swap(
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
            self._mark_unavailable(each)
        kept = {version.folder.model_version for version in loaded} | {
            each.model_version for each in broken
        }
        for number in self._dataplane.versions(name):
            if number not in kept:
                self._retire(self._dataplane.remove(name, number, reason=""))
        await self._on_change(name)

    async def _explainer_of(self, loaded: LoadedVersion) -> "Explainer | RequestError":
        return await self._threads.run(partial(load_explainer, loaded, self._settings))

    async def _take_up(self, loaded: LoadedVersion) -> Model:
        model = Model(
            loaded,
            self._settings,
            waiting_bytes=self._waiting_bytes,
            on_change=self._note_readiness,
        )
        self._retire(self._dataplane.add(model))
        await self._on_change(model.name)
        _logger.info("model %s version %s is ready", model.name, model.version)
        return model

    async def _try_all(
        self, found: Sequence[VersionFolder | BrokenModel]
    ) -> tuple[list[LoadedVersion], list[BrokenModel]]:
        """Loads versions side by side; those that cannot be loaded say why."""
        outcomes = await asyncio.gather(*map(self._try, found))
        loaded = [each for each in outcomes if isinstance(each, LoadedVersion)]
        return loaded, [each for each in outcomes if isinstance(each, BrokenModel)]

    async def _try(self, found: VersionFolder | BrokenModel) -> LoadedVersion | BrokenModel:
        if isinstance(found, BrokenModel):
            return found
        name, version = found.model_name, found.model_version
        begun = self._begun.pop((name, version), None)
        try:
            if begun is not None:
                return await asyncio.wrap_future(begun)
            return await self._threads.run(partial(load_version, found, self._settings))
        except RepositoryError as error:
            return BrokenModel(name, version, str(error))
        except StartError:
            raise
        except Exception as error:
            # Ours, but no reason to keep the other models from being served.
            _logger.exception("model %s version %s failed to load", name, version)
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

    def _mark_unavailable(self, broken: BrokenModel) -> None:
        name, version, reason = broken.model_name, broken.model_version, broken.reason
        self._dataplane.mark_unavailable(name, version, reason)
        _logger.error("model %s version %s is unavailable: %s", name, version or "-", reason)


def _place_of(repository: Path) -> Hashable:
    """What tells a folder from another that is put in its place; None while there is none."""
    try:
        status = repository.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


async def _end(model: Model) -> None:
    """Answers what was admitted, and gives the memory back."""
    await model.drain()
    model.close()
    del model
    # A captured graph and a batcher hold on to themselves; weights are too large to wait.
    gc.collect()


def _check_name(name: str, failed: str) -> None:
    """Before anything is remembered under a name that no model can have."""
    if not is_model_name(name):
        raise ModelNotFoundError(f"{failed}, there is no such model")
