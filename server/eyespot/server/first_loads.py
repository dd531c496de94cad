"""What a start loads, begun before there is a server to take it up.

Reading a graph, hashing it and rewriting it leave Python to other threads, so that asyncio, gRPC
and what else a server is made of are imported meanwhile: nothing here imports them.
"""

import logging
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import NamedTuple

from eyespot.server.config import ServerConfig
from eyespot.server.errors import StartError
from eyespot.server.load_attempts import LoadAttempts
from eyespot.server.load_calls import LoadCall, LoadCalls
from eyespot.server.loaded_version import LoadedVersion
from eyespot.server.loading_threads import LoadingThreads
from eyespot.server.process_memory import keep_little
from eyespot.server.repository import (
    BrokenModel,
    VersionFolder,
    check_is_no_model,
    fingerprint,
    scan,
    scan_model,
)
from eyespot.server.session import check_device
from eyespot.server.version_loading import load_version
from eyespot.v1.sha256 import sha256_of

_logger = logging.getLogger(__name__)


class FirstLoads(NamedTuple):
    """What the repository wants served at the start.

    Attributes:
        threads: In which it is loaded.
        found: In the order of names and versions.
        fingerprints: Of the models, from before anything of them was read.
        begun: What is being loaded, by the names and versions of models.
        calls: What calls have loaded and unloaded, before this start and after it.
        attempts: What is being loaded, for the server after this one.
    """

    threads: LoadingThreads
    found: Sequence[VersionFolder | BrokenModel]
    fingerprints: dict[str, Hashable]
    begun: dict[tuple[str, str], Future[LoadedVersion]]
    calls: LoadCalls
    attempts: LoadAttempts


def begin_first_loads(
    settings: ServerConfig,
    threads: LoadingThreads,
    *,
    calls: LoadCalls | None = None,
    attempts: LoadAttempts | None = None,
    hash_of: Callable[[Path], str] = sha256_of,
) -> FirstLoads:
    """Looks for what is to be loaded at the start, and begins to.

    Args:
        settings: where the repository is, and how its models are loaded.
        threads: in which they are loaded.
        calls: what calls had loaded and unloaded before the server was started anew.
        attempts: what was being loaded when the servers before this one were killed.
        hash_of: gives the SHA-256 of a file.

    Raises:
        StartError: the repository cannot be read, or lacks a model that is named, or the device
            cannot be used.
    """
    if settings.low_memory:
        keep_little()
    check_device(settings.device)
    calls = calls or LoadCalls()
    attempts = attempts or LoadAttempts()
    found = [attempts.admit(each) for each in _find(settings, calls)]
    names = {each.model_name for each in found}
    return FirstLoads(
        threads,
        found,
        {name: fingerprint(settings.repository, name) for name in names},
        {
            (each.model_name, each.model_version): threads.submit(
                partial(
                    attempts.run,
                    each,
                    partial(load_version, each, settings, hash_of=hash_of),
                )
            )
            for each in found
            if isinstance(each, VersionFolder)
        },
        calls,
        attempts,
    )


def _find(settings: ServerConfig, calls: LoadCalls) -> list[VersionFolder | BrokenModel]:
    check_is_no_model(settings.repository)
    found = scan(settings.repository)
    if settings.model_control_mode != "explicit":
        return found
    wanted = {name.strip() for name in settings.load_model.split(",") if name.strip()}
    names = {each.model_name for each in found}
    if missing := sorted(name for name in wanted - names - {"*"} if name not in calls):
        raise StartError(
            f"load_model names {', '.join(missing)}, the repository has "
            f"{', '.join(sorted(names)) or 'no model'}"
        )
    if "*" in wanted:
        wanted = names
    first = [each for each in found if each.model_name in wanted and each.model_name not in calls]
    for name, call in calls.loaded():
        first += _find_again(settings, name, call)
    return sorted(first, key=lambda each: each.model_name)  # versions stay in their order


def _find_again(
    settings: ServerConfig, name: str, call: LoadCall
) -> list[VersionFolder | BrokenModel]:
    """What a call had loaded before the server was started anew."""
    if call.brought_files:
        _logger.warning(
            "model %r is loaded as the repository has it: the files and the configuration that "
            "came with the load call were lost with the server; send the call again",
            name,
        )
    config = None if call.brought_files else call.config
    found = scan_model(settings.repository, name, config=config)
    return found or [
        BrokenModel(
            name, "", "a call had loaded it, but now the model repository has no such model"
        )
    ]
