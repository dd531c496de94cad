"""The hall behind every door: which models there are, and in which state. No transport."""

import asyncio
import enum
from collections.abc import Callable
from typing import NamedTuple

from eyespot.server.errors import (
    DrainingError,
    InvalidArgumentError,
    ModelBrokenError,
    ModelNotFoundError,
    ModelUnavailableError,
)
from eyespot.server.model import Model


class ModelState(enum.Enum):
    """The states of a model version, in Triton's words."""

    LOADING = "LOADING"
    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"


class IndexEntry(NamedTuple):
    """What RepositoryIndex tells of one version; the version is empty when none is known."""

    model_name: str
    model_version: str
    state: ModelState
    reason: str = ""
    derivation: str = ""  # how a version was made from another; empty for most


class Dataplane:
    """Finds the model of a call; use it from one event loop.

    Args:
        advice: says of a name that no model here bears what else is known of it, if anything.
    """

    def __init__(self, *, advice: Callable[[str], str] = lambda _: "") -> None:
        self._advice = advice
        self._entries: dict[tuple[str, str], IndexEntry] = {}
        self._models: dict[tuple[str, str], Model] = {}
        # By what calls name: (name, version), and (name, "") for the latest version.
        self._by_call: dict[tuple[str, str], Model] = {}
        self._has_scanned = False
        self.draining = asyncio.Event()  # set once nothing more is admitted
        self.late_calls = 0  # calls that came while draining; nothing else is told by them

    def expect(self, model_name: str, model_version: str) -> None:
        """Tells that a version is being loaded."""
        self._set(IndexEntry(model_name, model_version, ModelState.LOADING))

    def expect_no_more(self) -> None:
        """Tells that every model that there is has been named."""
        self._has_scanned = True

    def add(self, model: Model) -> Model | None:
        """Takes up a version that is ready, and gives back the one it takes the place of."""
        step = model.derivation
        told = "" if step is None else str(step)
        self._set(IndexEntry(model.name, model.version, ModelState.READY, derivation=told))
        replaced = self._models.get((model.name, model.version))
        self._models[model.name, model.version] = model
        self._index_calls(model.name)
        return replaced

    def note_readiness(self, model: Model) -> bool:
        """Notes whether a version is ready now, and why not; says whether it still is served."""
        if self._models.get((model.name, model.version)) is not model:
            return False
        reason = model.unready_reason
        state = ModelState.UNAVAILABLE if reason else ModelState.READY
        self._set(IndexEntry(model.name, model.version, state, reason))
        return True

    def remove(self, model_name: str, model_version: str, *, reason: str) -> Model | None:
        """Admits no more calls of a version, and gives it back if it was ready.

        Without a reason nothing is remembered of it: it is not in the repository any more.
        """
        model = self._models.pop((model_name, model_version), None)
        self._entries.pop((model_name, model_version), None)
        if reason:
            self.mark_unavailable(model_name, model_version, reason)
        self._index_calls(model_name)
        return model

    def versions(self, model_name: str) -> list[str]:
        """Every version of a model that is known, ready or not; empty where none can be told."""
        return [entry.model_version for entry in self.index() if entry.model_name == model_name]

    def mark_unavailable(self, model_name: str, model_version: str, reason: str) -> None:
        """Tells that a version cannot be served."""
        self._set(IndexEntry(model_name, model_version, ModelState.UNAVAILABLE, reason))

    def remark(self, model_name: str, model_version: str, text: str) -> None:
        """Tells something of a version that is served all the same; empty takes it back."""
        entry = self._entries.get((model_name, model_version))
        if entry is not None and entry.state is ModelState.READY:
            self._set(entry._replace(reason=text))

    def model(self, name: str, version: str = "") -> Model:
        """Finds a ready model; an empty version means the latest.

        Raises:
            InvalidArgumentError: the version is no number.
            ModelNotFoundError: the repository has no such model or version.
            ModelUnavailableError: it has, but the model is being loaded.
            ModelBrokenError: it has, but the model could not be loaded; says why.
        """
        if self.is_draining:
            self.late_calls += 1
        model = self._by_call.get((name, version))
        if model is None:
            raise self._absence(name, version)
        return model

    def models(self, name: str = "", version: str = "") -> list[Model]:
        """The ready models by name and version; empty ones mean any."""
        if name:
            self.model(name, version)
        return [
            model
            for key, model in sorted(self._models.items(), key=_index_order)
            if name in ("", key[0]) and version in ("", key[1])
        ]

    def index(self) -> list[IndexEntry]:
        """Everything in the model repository."""
        return [entry for _, entry in sorted(self._entries.items(), key=_index_order)]

    def explainer_is_loading(self, model_name: str, model_version: str) -> bool:
        """Whether a version takes requests, but nothing is known yet of what explains it."""
        model = self._models.get((model_name, model_version))
        return model is not None and not model.is_complete

    @property
    def is_ready(self) -> bool:
        """Whether every model has loaded, with what explains it, or is known to be unavailable."""
        return (
            self._has_scanned
            and not self.is_draining
            and all(entry.state is not ModelState.LOADING for entry in self._entries.values())
            and all(model.is_complete for model in self._models.values())
        )

    @property
    def is_draining(self) -> bool:
        """Whether nothing more is admitted."""
        return self.draining.is_set()

    def is_model_ready(self, name: str, version: str = "") -> bool:
        """Whether calls to this model would be admitted; false for an unknown one."""
        model = self._by_call.get((name, version))
        if model is None or self.is_draining:
            return False
        return self._entries[model.name, model.version].state is ModelState.READY

    async def drain(self) -> None:
        """Admits nothing more and waits until everything admitted is answered."""
        self.draining.set()
        await asyncio.gather(*(model.drain() for model in self._models.values()))

    def close(self) -> None:
        """Lets go of every model."""
        for model in self._models.values():
            model.close()

    def _index_calls(self, name: str) -> None:
        """Notes anew which model the calls of a name mean."""
        for key in [key for key in self._by_call if key[0] == name]:
            del self._by_call[key]
        for key in sorted((key for key in self._models if key[0] == name), key=_number):
            self._by_call[key] = self._by_call[name, ""] = self._models[key]  # the latest stays

    def _set(self, entry: IndexEntry) -> None:
        self._entries[entry.model_name, entry.model_version] = entry

    def _absence(self, name: str, version: str) -> Exception:
        """Why there is no ready model for a call, for the latest of the versions it means."""
        if self.is_draining:
            return DrainingError("the server is shutting down")
        if version and not (version.isascii() and version.isdigit()):
            return InvalidArgumentError(
                f"failed to get model version from specified version string '{version}' "
                f"(model '{name}'): versions are called 1, 2, 3, ..."
            )
        entries = [
            entry
            for entry in self.index()
            if entry.model_name == name and (entry.model_version in ("", version) or not version)
        ]
        what = f"'{name}' version {version}" if version else f"'{name}'"
        if entries:
            entry = entries[-1]
            if entry.state is ModelState.UNAVAILABLE:
                return ModelBrokenError(f"model {what} is not ready: {entry.reason}")
            return ModelUnavailableError(f"model {what} is not ready: it is being loaded")
        if not self._has_scanned:
            return ModelUnavailableError(f"model {what} is not ready: the server is starting")
        known = sorted({entry.model_name for entry in self._entries.values()})
        if name in known:
            versions = [e.model_version for e in self.index() if e.model_name == name]
            hint = f"it has the versions {', '.join(versions)}"
        else:
            hint = self._advice(name) or f"the models are: {', '.join(known[:20]) or 'none'}"
        return ModelNotFoundError(f"Request for unknown model: {what} is not found; {hint}")


def _number(key: tuple[str, str]) -> int:
    return int(key[1])


def _index_order(item: tuple[tuple[str, str], object]) -> tuple[str, int]:
    (name, version), _ = item
    return name, int(version or 0)
