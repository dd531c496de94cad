"""What a start loads, begun before there is a server to take it up.

Reading a graph, hashing it and rewriting it leave Python to other threads, so that asyncio, gRPC
and what else a server is made of are imported meanwhile: nothing here imports them.
"""

from collections.abc import Hashable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from eyespot.server.config import ServerConfig
from eyespot.server.errors import StartError
from eyespot.server.loaded_version import LoadedVersion
from eyespot.server.loading_threads import LoadingThreads
from eyespot.server.process_memory import keep_little
from eyespot.server.repository import (
    BrokenModel,
    VersionFolder,
    check_is_no_model,
    fingerprint,
    scan,
)
from eyespot.server.session import check_device
from eyespot.server.version_loading import load_version


class FirstLoads(NamedTuple):
    """What the repository wants served at the start.

    Attributes:
        threads: In which it is loaded.
        found: In the order of names and versions.
        fingerprints: Of the models, from before anything of them was read.
        begun: What is being loaded, by the names and versions of models.
    """

    threads: LoadingThreads
    found: Sequence[VersionFolder | BrokenModel]
    fingerprints: dict[str, Hashable]
    begun: dict[tuple[str, str], Future[LoadedVersion]]


def begin_first_loads(settings: ServerConfig, threads: LoadingThreads) -> FirstLoads:
    """Looks for what is to be loaded at the start, and begins to.

    Raises:
        StartError: the repository cannot be read, or lacks a model that is named, or the device
            cannot be used.
    """
    if settings.low_memory:
        keep_little()
    check_device(settings.device)
    found = _find(settings)
    names = {each.model_name for each in found}
    return FirstLoads(
        threads,
        found,
        {name: fingerprint(settings.repository, name) for name in names},
        {
            (each.model_name, each.model_version): threads.submit(
                partial(load_version, each, settings)
            )
            for each in found
            if isinstance(each, VersionFolder)
        },
    )


def _find(settings: ServerConfig) -> list[VersionFolder | BrokenModel]:
    check_is_no_model(settings.repository)
    found = scan(settings.repository)
    if settings.model_control_mode != "explicit":
        return found
    wanted = [name.strip() for name in settings.load_model.split(",") if name.strip()]
    names = {each.model_name for each in found}
    if missing := sorted(set(wanted) - names - {"*"}):
        raise StartError(
            f"load_model names {', '.join(missing)}, the repository has "
            f"{', '.join(sorted(names)) or 'no model'}"
        )
    return [each for each in found if "*" in wanted or each.model_name in wanted]
