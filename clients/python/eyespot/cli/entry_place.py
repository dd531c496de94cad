"""What a command line says of an entry: which model of which repository, and which version."""

from __future__ import annotations

from pathlib import Path

from eyespot.cli.errors import CommandError, telling
from eyespot.v1.manifest import CONFIG_FILE


def is_path(network: str) -> bool:
    """Tell the folder of an entry from the name of a network of the zoo."""
    return "/" in network or Path(network).is_dir()


def split_entry(text: str) -> tuple[Path, str, str | None]:
    """Take repository, name and version apart; a version is a number without a config.

    Raises:
        CommandError: A repository was named, or a model that is not there.
    """
    path = Path(text)
    whole = path.absolute()
    version = None
    if whole.name.isdigit() and not (whole / CONFIG_FILE).exists():
        whole, version = whole.parent, whole.name
    _check_is_entry(path, whole.parent, whole.name)
    return whole.parent, whole.name, version


def _check_is_entry(path: Path, repository: Path, name: str) -> None:
    """Tell someone who named a repository, or a model that is not there, what there is."""
    inside = sorted(folder.parent.name for folder in path.glob(f"[!.]*/{CONFIG_FILE}"))
    if inside:
        raise CommandError(f"{path} is a repository; name one of its models: {', '.join(inside)}")
    from eyespot.exporter import ExportError
    from eyespot.exporter.repository import list_models

    with telling(ExportError):
        there = list_models(repository)
    if name not in there:
        known = ", ".join(there) or "none"
        raise CommandError(f"no model {name!r} in {repository}; its models: {known}")
