"""What a command line says of an entry: which model of which repository, and which version."""

from __future__ import annotations

from pathlib import Path

from eyespot.cli.errors import CommandError
from eyespot.cli.zoo_names import check_network
from eyespot.v1.manifest import CONFIG_FILE
from eyespot.v1.repository_folders import list_versions, model_folders


def is_path(network: str) -> bool:
    """Tell the folder of an entry from the name of a network of the zoo."""
    return "/" in network or Path(network).is_dir()


def check_exists(network: str) -> None:
    """Make sure that there is such an entry, or such a network in the zoo.

    Raises:
        CommandError: There is none.
    """
    if is_path(network):
        split_entry(network)
    else:
        check_network(network)


def split_entry(text: str) -> tuple[Path, str, str | None]:
    """Take repository, name and version apart; a version is a number without a config.

    Raises:
        CommandError: A repository was named, or a model or version that is not there.
    """
    path = Path(text)
    whole = path.absolute()
    version = None
    if whole.name.isdigit() and not (whole / CONFIG_FILE).exists():
        whole, version = whole.parent, whole.name
    _check_is_entry(path, whole.parent, whole.name)
    there = list_versions(whole)
    if version is not None and version not in there:
        raise CommandError(
            f"{whole.name} has no version {version}; its versions: {', '.join(there) or 'none'}"
        )
    return whole.parent, whole.name, version


def _check_is_entry(path: Path, repository: Path, name: str) -> None:
    """Tell someone who named a repository, or a model that is not there, what there is."""
    inside = sorted(folder.parent.name for folder in path.glob(f"[!.]*/{CONFIG_FILE}"))
    if inside:
        raise CommandError(f"{path} is a repository; name one of its models: {', '.join(inside)}")
    there = models_in(repository)
    if name not in there:
        known = ", ".join(there) or "none"
        raise CommandError(f"no model {name!r} in {repository}; its models: {known}")


def models_in(repository: Path) -> list[str]:
    """Name the models of a repository.

    Raises:
        CommandError: There is no such folder.
    """
    if not repository.is_dir():
        raise CommandError(f"{repository} is no model repository: there is no such folder")
    return model_folders(repository)
