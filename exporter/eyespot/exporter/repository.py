"""The model repository: a version is written beside it and appears whole, or not at all.

All writing happens in a workspace, a folder of the repository whose name begins with a dot;
what is complete is renamed to its place. A killed export leaves its workspace behind: the
next export sees that nobody holds its lock, puts back what had been set aside, and removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eyespot.exporter.errors import LabelsError, RepositoryError
from eyespot.exporter.labels import read_labels, write_labels
from eyespot.exporter.model_config import differences, read_config, write_config
from eyespot.v1.manifest import CONFIG_FILE, LABELS_FILE
from eyespot.v1.model_config_pb2 import ModelConfig
from eyespot.v1.repository_folders import list_versions, model_folders

_WORKSPACE_PREFIX = ".eyespot-"
_LOCK = "lock"
_STAGED = "staged"
_ASIDE = "aside"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of the disk, the user's share, one file


@dataclass(frozen=True)
class Draft:
    """A version in the making.

    Attributes:
        folder: To write the version's files into.
        model_version: What it will be.
        config: What the model's configuration will be.
    """

    folder: Path
    model_version: str
    config: ModelConfig


@dataclass(frozen=True)
class Plan:
    """What a new version will be, and what it changes beside itself."""

    name: str
    model_version: str
    config: ModelConfig
    writes_config: bool
    labels: Sequence[str] | None
    replaces: bool
    others: Sequence[str] = ()  # versions that stay beside it

    def standing(self, repository: Path) -> tuple[str, ...]:
        """Say what becomes of the versions that were there, and how to go back to them."""
        version = f"version {self.model_version}"
        replaced = (f"{version} took the place of the one that was there",) if self.replaces else ()
        if not self.others:
            return replaced
        is_named = self.config.version_policy.WhichOneof("policy_choice") == "specific"
        back = f"; to go back to {self.others[-1]}, remove {repository / self.name}/"
        way_back = "" if is_named else f"{back}{self.model_version}"
        beside = f"{version} is beside {_listed(self.others)}: {self._policy()}{way_back}"
        return (*replaced, beside)

    def _policy(self) -> str:
        """Which versions a server serves."""
        policy = self.config.version_policy
        match policy.WhichOneof("policy_choice"):
            case "specific":
                return f"a server serves {_listed(policy.specific.versions)}, as {CONFIG_FILE} says"
            case "all":
                return "a server serves them all, and the latest to whoever names none"
            case _:
                most = max(1, policy.latest.num_versions)
                return f"a server serves the latest{'' if most == 1 else f' {most}'}"


def check_name(name: str) -> str:
    """Check that a name can be a folder of the repository and nothing else.

    Raises:
        RepositoryError: It cannot.
    """
    if (
        not name
        or name.startswith(".")
        or name != name.strip()
        or not name.isprintable()
        or any(character in name for character in '/\\:*?"<>|')
        or len(name.encode()) > 200
    ):
        raise RepositoryError(
            f"{name!r} is no model name: letters, digits, '-', '_' and '.' (not first) are expected"
        )
    return name


def list_models(repository: Path) -> list[str]:
    """Name the models of a repository, in order.

    Raises:
        RepositoryError: There is no such folder.
    """
    if not repository.is_dir():
        raise RepositoryError(f"{repository} is no model repository: there is no such folder")
    return model_folders(repository)


def plan_version(
    repository: Path,
    config: ModelConfig,
    *,
    labels: Sequence[str] | None,
    max_batch_size: int | None,
    replace: bool,
) -> Plan:
    """Decide what a new version of a model will be, before anything is written.

    The configuration that is there stays, with all that was tuned in it, as long as it
    describes the same tensors and pictures.

    Args:
        repository: It need not exist yet.
        config: Of the new version.
        labels: Of its classes; None keeps those that are there.
        max_batch_size: If it was asked for; it then replaces the one that is there.
        replace: The latest version is replaced, and so is whatever stands in the way.

    Raises:
        RepositoryError: The model that is there is another, and `replace` is not set or there
            are more versions of it than the one that is replaced.
    """
    model = repository / check_name(config.name)
    versions = list_versions(model)
    latest = int(versions[-1]) if versions else 0
    replaces = replace and latest > 0
    version = versions[-1] if replaces else str(latest + 1)
    others = versions[:-1] if replaces else versions
    if not (model / CONFIG_FILE).exists():
        return Plan(config.name, version, config, True, labels, replaces, others)
    obstacles, there = _obstacles(model, config, labels)
    if obstacles and not replace:
        raise RepositoryError(
            f"{config.name} in {repository} describes another model ({'; '.join(obstacles)}): "
            "choose another name, or --replace it"
        )
    if obstacles and others:
        raise RepositoryError(
            f"{config.name} in {repository} describes another model ({'; '.join(obstacles)}), and "
            f"its versions {', '.join(others)} would be described as this one: choose another "
            "name, or remove them"
        )
    if obstacles or there is None:
        return Plan(config.name, version, config, True, labels, replaces, others)
    merged = ModelConfig()
    merged.CopyFrom(there)
    if max_batch_size is not None:
        merged.max_batch_size = max_batch_size
    for ours, theirs in zip(config.output, merged.output, strict=True):
        theirs.label_filename = theirs.label_filename or ours.label_filename
    return Plan(config.name, version, merged, merged != there, labels, replaces, others)


@contextlib.contextmanager
def written_version(repository: Path, plan: Plan) -> Iterator[Draft]:
    """Give a folder to write a version into; it is in the repository once the block ends well.

    Raises:
        RepositoryError: The folder cannot be written, the disk is full, or another export was
            faster.
    """
    try:
        is_new = not repository.exists()
        repository.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RepositoryError(f"{repository} cannot be a model repository: {error}") from error
    remove_leftovers(repository)
    try:
        with _workspace(repository) as workspace:
            staged = workspace / _STAGED / plan.name
            folder = staged / plan.model_version
            folder.mkdir(parents=True)
            yield Draft(folder, plan.model_version, plan.config)
            if plan.writes_config:
                write_config(plan.config, staged / CONFIG_FILE)
            if plan.labels is not None:
                write_labels(plan.labels, staged / LABELS_FILE)
            _publish(workspace, repository, plan)
    except BaseException as error:
        if is_new:
            with contextlib.suppress(OSError):
                repository.rmdir()
        if isinstance(error, OSError) and error.errno in _FULL:
            raise RepositoryError(
                f"{repository} cannot take the version: {error.strerror}; nothing of it is left "
                "there"
            ) from error
        raise


def remove_leftovers(repository: Path) -> None:
    """Undo and remove what exports that were killed have left."""
    for workspace in repository.glob(f"{_WORKSPACE_PREFIX}*"):
        # OSError: its export is alive and holds the lock, or has just removed it.
        with contextlib.suppress(OSError), (workspace / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _put_back(workspace, repository)
            shutil.rmtree(workspace, ignore_errors=True)


def _obstacles(
    model: Path, config: ModelConfig, labels: Sequence[str] | None
) -> tuple[list[str], ModelConfig | None]:
    try:
        there = read_config(model / CONFIG_FILE)
    except RepositoryError as error:
        return [str(error)], None
    found = differences(there, config)
    if labels is not None and (model / LABELS_FILE).exists():
        try:
            same = read_labels(model / LABELS_FILE) == tuple(labels)
        except LabelsError as error:
            found.append(str(error))
        else:
            found.extend([] if same else ["other labels"])
    return found, there


def _listed(versions: Sequence[str | int]) -> str:
    """Name some versions: "1", "1, 2 and 5"."""
    *first, last = map(str, versions)
    return f"{', '.join(first)} and {last}" if first else last


@contextlib.contextmanager
def _workspace(repository: Path) -> Iterator[Path]:
    workspace = Path(tempfile.mkdtemp(prefix=_WORKSPACE_PREFIX, dir=repository))
    try:
        with (workspace / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield workspace
            except BaseException:
                _put_back(workspace, repository)
                raise
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _publish(workspace: Path, repository: Path, plan: Plan) -> None:
    """Rename what is staged to its place, the version last: it is the sign of completion."""
    staged, model = workspace / _STAGED / plan.name, repository / plan.name
    if not model.exists():
        staged.rename(model)
        return
    aside = workspace / _ASIDE / plan.name
    aside.mkdir(parents=True)
    for file in (LABELS_FILE, CONFIG_FILE):
        if (staged / file).exists():
            if (model / file).exists():
                shutil.copy2(model / file, aside / file)
            (staged / file).replace(model / file)
    target = model / plan.model_version
    if plan.replaces and target.exists():
        target.rename(aside / plan.model_version)
    if target.exists():
        raise RepositoryError(
            f"another export has just written version {plan.model_version} of {plan.name}: "
            "run this one again"
        )
    (staged / plan.model_version).rename(target)


def _put_back(workspace: Path, repository: Path) -> None:
    """Undo an unfinished publication: the staged version has not left the workspace."""
    if not any((workspace / _STAGED).glob("*/*/")):
        return
    for entry in (workspace / _ASIDE).glob("*/*"):
        target = repository / entry.parent.name / entry.name
        if entry.is_file() or not target.exists():
            entry.replace(target)
