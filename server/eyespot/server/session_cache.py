"""Optimised graphs on the disk: what ONNX Runtime made of a graph, kept for the next start.

A graph is rewritten for the processor each time that it is loaded. The result is kept in a
file that is named by all it depends on - the graph's SHA-256, the runtime's version, the
processor, the level of optimisation - and by its own SHA-256: a file that was damaged or
changed is made anew. A folder that others may write to is not used, since what lies in it is run.

Nothing depends on the cache: where it cannot be read or written, models load as without it.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from eyespot.server.errors import RepositoryError
from eyespot.server.session import Session, SessionSettings, runtime_version
from eyespot.v1.sha256 import sha256_of

OFF, AUTO = "off", "auto"

# Below it the runtime is fast enough; above it a second copy would take too much memory.
_LEAST_BYTES, _MOST_BYTES = 1 << 20, 512 << 20
_MOST_FILES = 32
_SPARE = 4  # times the size of a graph must be free on the disk
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_logger = logging.getLogger(__name__)


def cache_folder(setting: str) -> Path | None:
    """The folder that a setting means: `off`, `auto` for the user's cache, or a path."""
    if setting == OFF:
        return None
    if setting != AUTO:
        return Path(setting)
    with contextlib.suppress(RuntimeError):  # a user without a home has no cache either
        beneath = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(beneath) / "eyespot" / "models"
    return None


def open_cached(
    path: Path, settings: SessionSettings, *, sha256: str | None, folder: Path | None
) -> Session:
    """Loads a graph, from the cache where it is there, and into it where it is not.

    Args:
        path: of the graph.
        settings: of the session.
        sha256: of the graph, which has been checked; without it there is no caching.
        folder: of the cache; None for none.

    Raises:
        RepositoryError: the graph cannot be loaded.
        DeviceUnavailableError: the provider of the device cannot be used.
    """
    if folder is None or sha256 is None or not _is_worth_it(path, settings):
        return Session.open(path, settings)
    try:
        _make_private(folder)
        prefix = f"{_key(sha256, settings)}-"
        cached = _find(folder, prefix)
        if cached is not None:
            return Session.open(path, settings, cached=cached)
        with _room(folder, path) as written:
            session = Session.open(path, settings, optimised=written)
            _keep(folder, prefix, written)
            return session
    except (OSError, RepositoryError) as error:  # of the graph itself it is raised again below
        _logger.info("the cache %s is not used for %s: %s", folder, path, error)
        return Session.open(path, settings)


def _is_worth_it(path: Path, settings: SessionSettings) -> bool:
    has_external_data = path.with_name(path.name + ".data").exists()
    return (
        settings.device == "cpu"
        and settings.optimization != "none"
        and not has_external_data
        and _LEAST_BYTES <= path.stat().st_size <= _MOST_BYTES
    )


def _key(sha256: str, settings: SessionSettings) -> str:
    parts = (sha256, runtime_version(), _processor(), settings.optimization)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _processor() -> str:
    """What a graph may be rewritten for: the architecture, the model and its instructions."""
    told = {os.uname().machine}
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        told |= {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return "\n".join(sorted(told))


def _make_private(folder: Path) -> None:
    """Makes the folder for us alone.

    Raises:
        OSError: it cannot be made, or is somebody else's, or others may write to it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_MAY_WRITE:
        raise PermissionError("it must be a folder of this user that nobody else may write to")


def _find(folder: Path, prefix: str) -> Path | None:
    """The optimised graph, if it is what its name tells."""
    for path in folder.glob(f"{prefix}*.onnx"):
        with contextlib.suppress(OSError):
            if sha256_of(path) == path.stem.removeprefix(prefix):
                os.utime(path)
                return path
            _logger.warning("%s is not what was written: it is made anew", path)
            path.unlink()
    return None


@contextlib.contextmanager
def _room(folder: Path, path: Path) -> Iterator[Path]:
    """A file for an optimised graph, which is gone afterwards unless it was renamed."""
    if shutil.disk_usage(folder).free < _SPARE * path.stat().st_size:
        raise OSError("the disk is nearly full")
    import tempfile  # not for every start

    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".onnx", dir=folder)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _keep(folder: Path, prefix: str, written: Path) -> None:
    """Gives a finished file its name, and removes those that were not used for longest.

    The session is there by now: a cache that cannot be written is no reason to load it again.
    """
    with contextlib.suppress(OSError):
        written.rename(folder / f"{prefix}{sha256_of(written)}.onnx")
        by_age = sorted(folder.glob("*.onnx"), key=lambda each: each.stat().st_mtime, reverse=True)
        for old in by_age[_MOST_FILES:]:
            old.unlink(missing_ok=True)
