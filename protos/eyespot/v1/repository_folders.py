"""Which folders of a model repository are models, and which of a model are versions."""

from __future__ import annotations

from pathlib import Path


def model_folders(repository: Path) -> list[str]:
    """Name the models of a repository, in order; hidden folders are none.

    Raises:
        OSError: There is no such folder.
    """
    folders = (path for path in repository.iterdir() if path.is_dir())
    return sorted(path.name for path in folders if not path.name.startswith("."))


def list_versions(model: Path) -> list[str]:
    """Name the versions of a model, the latest last."""
    if not model.is_dir():
        return []
    names = [path.name for path in model.iterdir() if path.is_dir()]
    numbers = [name for name in names if name.isascii() and name.isdecimal()]
    return sorted(numbers, key=lambda name: (int(name), name))
