"""How large an installation is: the files of distributions and of all that they ask for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement

_OWN = "eyespot"
_ROOTS = ("protos", "exporter", "server", "clients/python")
_HERE = Path(__file__).resolve().parent.parent


def installed_bytes(requirements: Iterable[str]) -> int:
    """Sum the files of the distributions of this environment that requirements need."""
    return sum(map(_size, _closure(requirements).values()))


def pip_bytes(requirements: Iterable[str]) -> int:
    """Sum what pip puts into an empty folder; asks the package index."""
    with TemporaryDirectory() as folder:
        words = [word.replace(_OWN, f"{_OWN} @ file://{_HERE}", 1) for word in requirements]
        words = [_with_extras_first(word) for word in words]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, *words],
            check=True,
        )
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def _with_extras_first(word: str) -> str:
    """`name @ url[extra]` as pip reads it: `name[extra] @ url`."""
    name, at, url = word.partition(" @ ")
    place, bracket, extras = url.partition("[")
    return f"{name}{bracket}{extras}{at}{place}"


def _closure(requirements: Iterable[str]) -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        key = (wanted.name.lower(), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        found[wanted.name.lower()] = current = distribution(wanted.name)
        for text in current.requires or ():
            needed = Requirement(text)
            extras = wanted.extras or {""}
            if not needed.marker or any(needed.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(needed)
    return found


def _size(found: Distribution) -> int:
    if found.name == _OWN:  # installed from its sources, which lie elsewhere
        files = [path for root in _ROOTS for path in (_HERE / root / _OWN).rglob("*.py")]
        return sum(path.stat().st_size for path in files)
    located = [Path(str(file.locate())) for file in found.files or ()]
    return sum(path.stat().st_size for path in located if path.is_file())
