"""A virtual environment for each peer, made once, of what PyPI has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

# The session is the same on all sides.
_RUNTIME = f"onnxruntime=={onnxruntime.__version__}"

# Where Python has no ensurepip, what to install is told some lines before the last.
_LINES_OF_REASON = 8


class PeerMissingError(Exception):
    """A peer cannot be measured here; the text says which and why."""


@dataclass(frozen=True)
class Environment:
    """Where a peer is installed.

    Attributes:
        name: Of the folder, too.
        requirements: For pip; ONNX Runtime comes on top.
        python_version: That it must have, or None for the Python of this process.
    """

    name: str
    requirements: tuple[str, ...]
    python_version: str | None = None

    def make(self, folder: Path) -> Path:
        """Make the environment, unless it is there with the same requirements.

        Args:
            folder: Of all environments.

        Returns:
            The folder of this one.

        Raises:
            PeerMissingError: If there is no such Python, or pip fails.
        """
        place = (folder / self.name).resolve()
        wanted = "\n".join((*self.requirements, _RUNTIME))
        made = place / "requirements.txt"
        if made.exists() and made.read_text() == wanted:
            return place
        python = self._python(os.get_exec_path())
        shutil.rmtree(place, ignore_errors=True)
        print(f"{self.name}: {place} is being made of {wanted.replace(chr(10), ', ')} ...")
        self._run([python, "-m", "venv", place])
        self._run([place / "bin" / "python", "-m", "pip", "install", "--quiet", *wanted.split()])
        made.write_text(wanted)
        return place

    def _python(self, folders: Iterable[str]) -> Path:
        """The first Python of the wanted version, of those that a shell would find."""
        if self.python_version is None:
            return Path(sys.executable)
        for python in _pythons(folders, self.python_version):
            told = ("-c", "import platform; print(platform.python_version())")
            found = subprocess.run([python, *told], stdout=subprocess.PIPE, text=True, check=False)
            if found.stdout.strip() == self.python_version:
                return python
        raise PeerMissingError(
            f"{self.name} needs Python {self.python_version}, and there is none in PATH"
        )

    def _run(self, command: list[str | Path]) -> None:
        ran = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if ran.returncode:
            reason = (ran.stdout.strip() or "no reason was given").splitlines()[-_LINES_OF_REASON:]
            raise PeerMissingError(f"{self.name} cannot be installed:\n" + "\n".join(reason))


def _pythons(folders: Iterable[str], version: str) -> Iterator[Path]:
    major_minor = version.rpartition(".")[0]
    for folder in folders:
        python = Path(folder) / f"python{major_minor}"
        if python.exists():
            yield python
