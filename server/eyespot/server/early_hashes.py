"""The hashes of graphs, begun before what loads them has been imported.

Imports run one at a time, on one core; to hash needs no Python, so the others do it meanwhile. What
is hashed is a guess at what will be loaded: nobody waits for one that was wrong.
"""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from eyespot.server.config import ServerConfig
from eyespot.server.loading_threads import LoadingThreads
from eyespot.v1.sha256 import sha256_of

_GRAPH = "model.onnx"
_MOST_BYTES = 256 << 20  # of all: what was read must still be in memory when it is loaded


class _Begun(NamedTuple):
    stamp: tuple[int, ...]  # changes when the file does
    sha256: Future[str]


class EarlyHashes:
    """Hashes the newest graph of each model that a start will load, from now on.

    Args:
        settings: where the repository is, and what of it is loaded at the start.
        threads: in which it happens.
    """

    def __init__(self, settings: ServerConfig, threads: LoadingThreads) -> None:
        self._begun: dict[Path, _Begun] = {}
        left = _MOST_BYTES
        for path in _newest_graphs(settings):
            with suppress(OSError):  # told by who loads it
                left -= path.stat().st_size
                if left >= 0:
                    hashing = threads.submit(partial(sha256_of, path))
                    self._begun[path] = _Begun(_stamp(path), hashing)

    def of(self, path: Path) -> str:
        """The SHA-256 of a file as it is now; blocks.

        Raises:
            OSError: it cannot be read.
        """
        begun = self._begun.pop(path, None)
        if begun is None or begun.stamp != _stamp(path):
            return sha256_of(path)
        return begun.sha256.result()


def _newest_graphs(settings: ServerConfig) -> Iterator[Path]:
    if settings.model_control_mode == "explicit":
        return
    by_model = defaultdict(list)
    for path in settings.repository.glob(f"*/*/{_GRAPH}"):
        if path.parent.name.isdecimal():
            by_model[path.parent.parent].append(path)
    for _, paths in sorted(by_model.items()):
        yield max(paths, key=lambda path: int(path.parent.name))


def _stamp(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
