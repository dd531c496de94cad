"""A model repository on disk: which versions there are, and whether their files are whole.

Triton's layout: `<model_name>/config.pbtxt` and `<model_name>/<version>/model.onnx`, with
`manifest.json` and `original.pt2` beside it when Eyespot exported the version. A folder
that cannot be served is told with its reason and stops none of the others. A folder
without config.pbtxt and without a version is no model at all, as one of pictures is not.
"""

import contextlib
import functools
import logging
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import NamedTuple

from eyespot.server.errors import RepositoryError, StartError
from eyespot.server.model_config import ConfigFile, empty_config, parse_config, read_config
from eyespot.v1.bounded_text import read_bounded
from eyespot.v1.external_data import ExternalDataError, check_external_data
from eyespot.v1.manifest import (
    CONFIG_FILE,
    MANIFEST_FILE,
    ORIGINAL_FILE,
    ORIGINAL_GRAPH_FILE,
    Manifest,
    ManifestError,
    read_manifest,
)
from eyespot.v1.sha256 import sha256_of

_SHOWN_DIGITS = 12  # of a hash: enough to compare by eye
_MOST_LABEL_BYTES = 8 << 20  # a hundred thousand classes with a sentence each
_LONGEST_NAME = 255  # bytes, of one component of a path
_logger = logging.getLogger(__name__)


class VersionFolder(NamedTuple):
    """One version that is to be served."""

    model_name: str
    model_version: str
    folder: Path
    config_file: ConfigFile

    @property
    def model_path(self) -> Path:
        """The graph."""
        return self.folder / self.config_file.model_filename

    @property
    def original_path(self) -> Path:
        """The captured program that saliency differentiates; it need not exist."""
        return self.folder / ORIGINAL_FILE


class BrokenModel(NamedTuple):
    """A model, or one version of it, that cannot be served, and why."""

    model_name: str
    model_version: str  # empty when no version of it can be told
    reason: str


def scan(repository: Path) -> list[VersionFolder | BrokenModel]:
    """Lists what the repository wants served, in the order of names and versions.

    Raises:
        StartError: there is no such folder.
    """
    try:
        folders = _subfolders(repository)
    except OSError as error:
        raise StartError(
            f"the model repository {repository} cannot be read: {error.strerror}"
        ) from error
    found: list[VersionFolder | BrokenModel] = []
    for folder in folders:
        found.extend(_scan_folder(folder, None))
    return found


def scan_model(
    repository: Path, name: str, *, config: str | None = None
) -> list[VersionFolder | BrokenModel]:
    """Lists what one model wants served; nothing where there is no such model.

    Args:
        repository: the folder of models.
        name: of the model; a name that is no plain folder name has no model.
        config: a ModelConfig as JSON that stands in for config.pbtxt.
    """
    folder = repository / name
    if not is_model_name(name) or not folder.is_dir():
        return []
    return _scan_folder(folder, config)


def is_model_name(name: str) -> bool:
    """Whether a model may bear a name: that of one folder, not hidden, which can be printed."""
    is_plain = Path(name).name == name and not name.startswith(".") and name.isprintable()
    return is_plain and len(name.encode()) <= _LONGEST_NAME


def model_names(repository: Path) -> set[str]:
    """Names the models of the repository, whether or not they can be served."""
    with contextlib.suppress(OSError):
        return {folder.name for folder in _subfolders(repository) if _is_model(folder)}
    return set()  # it changes under our eyes


def has_model(repository: Path, name: str) -> bool:
    """Whether there is a model of a name, whether or not it can be served."""
    with contextlib.suppress(OSError):
        return is_model_name(name) and _is_model(repository / name)
    return False


def write_files(repository: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Writes the files of one model, by their paths in its folder.

    Raises:
        RepositoryError: the name is no plain folder name, or the paths contradict each other.
    """
    if not is_model_name(name):
        raise RepositoryError(f"{name!r} is no name of a model")
    for path, content in files.items():
        place = repository / name / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        except OSError as error:
            raise RepositoryError(f"{path!r} cannot be written: {error.strerror}") from error


def fingerprint(repository: Path, name: str) -> Hashable:
    """What changes when a file of a model does: names, sizes and times."""
    with contextlib.suppress(OSError):
        return tuple(
            (path.relative_to(repository).as_posix(), status.st_size, status.st_mtime_ns)
            for path in sorted((repository / name).rglob("*"))
            if not any(part.startswith(".") for part in path.relative_to(repository).parts)
            for status in (path.stat(),)
        )
    return None  # it changes under our eyes, or is gone


def check_is_no_model(repository: Path) -> None:
    """Makes sure that a repository is not the folder of one model.

    Raises:
        StartError: it is.
    """
    with contextlib.suppress(OSError):  # `scan` tells why it cannot be read
        if _is_model(repository):
            raise StartError(
                f"{repository} is a model, where the repository of models is expected: "
                f"{repository.resolve().parent}"
            )


def suggest_repository(repository: Path) -> Path | None:
    """The folder that was probably meant where a repository holds no model: one below it."""
    with contextlib.suppress(OSError):
        for folder in _subfolders(repository):
            if not _is_model(folder) and any(map(_is_model, _subfolders(folder))):
                return folder
    return None


def check_files(
    version: VersionFolder,
    *,
    with_original: bool = True,
    hash_of: Callable[[Path], str] = sha256_of,
) -> Manifest | None:
    """Checks where the weights of a version lie, and each file against the manifest.

    Gradient graphs and what they alone read are left out: without them a version is served, see
    `damaged_gradients`.

    Args:
        version: whose files.
        with_original: whether the original is read at all; else it need not be there.
        hash_of: gives the SHA-256 of a file.

    Returns:
        The manifest; None without one.

    Raises:
        RepositoryError: a file is missing, is not the one that was exported, or lies where none
            may be read.
    """
    manifest = _read_and_check_manifest(version, with_original=with_original, hash_of=hash_of)
    _check_weights(version.model_path, manifest, hash_of=hash_of)
    return manifest


def damaged_gradients(folder: Path, manifest: Manifest) -> dict[str, str]:
    """Tells of each gradient graph of a version that must not be opened why."""
    graphs = manifest.gradient_graphs
    damaged = {}
    hash_of = functools.cache(sha256_of)  # they share what they read their weights from
    for name in () if graphs is None else graphs.files:
        try:
            check_gradient(folder, name, manifest, hash_of=hash_of)
        except RepositoryError as error:
            damaged[name] = str(error)
    return damaged


def check_gradient(
    folder: Path, name: str, manifest: Manifest, *, hash_of: Callable[[Path], str] = sha256_of
) -> None:
    """Checks one gradient graph of a version, and where its weights lie.

    Raises:
        RepositoryError: it or the original graph that it reads is missing or is not the one that
            was exported, or its weights lie where none may be read.
    """
    if name not in manifest.files:
        raise RepositoryError(f"{MANIFEST_FILE} has no SHA-256 of {name}; export the model again")
    _check_hash(folder, name, manifest.files[name], hash_of=hash_of)
    _check_weights(folder / name, manifest, hash_of=hash_of)


def _check_weights(
    graph: Path, manifest: Manifest | None, *, hash_of: Callable[[Path], str]
) -> None:
    """Checks where a graph keeps its weights: gradients keep theirs in the served graph.

    Those of a derived version keep them in the original graph, whose hash is looked at here.
    """
    try:
        beside = check_external_data(graph)
    except OSError as error:
        raise RepositoryError(f"{graph.name} cannot be read: {error.strerror}") from error
    except ExternalDataError as error:
        raise RepositoryError(str(error)) from error
    unknown = [] if manifest is None else [name for name in beside if name not in manifest.files]
    if unknown:
        raise RepositoryError(
            f"{graph.name} keeps weights in {unknown[0]}, of which "
            f"{MANIFEST_FILE} has no SHA-256; export the model again"
        )
    if manifest is not None and ORIGINAL_GRAPH_FILE in beside:
        expected = manifest.files[ORIGINAL_GRAPH_FILE]
        _check_hash(graph.parent, ORIGINAL_GRAPH_FILE, expected, hash_of=hash_of)


def _read_and_check_manifest(
    version: VersionFolder, *, with_original: bool, hash_of: Callable[[Path], str]
) -> Manifest | None:
    path = version.folder / MANIFEST_FILE
    if not path.exists():
        return None
    try:
        manifest = read_manifest(path)
    except ManifestError as error:
        raise RepositoryError(str(error)) from error
    graphs = manifest.gradient_graphs
    others = {ORIGINAL_GRAPH_FILE, *(() if graphs is None else graphs.files)}
    if not with_original:
        others.add(ORIGINAL_FILE)
    for name, expected in manifest.files.items():
        if name not in others:
            _check_hash(version.folder, name, expected, hash_of=hash_of)
    return manifest


def read_labels(model_folder: Path, label_filename: str) -> tuple[str, ...]:
    """Reads the labels of an output, one a line, by the index of the class.

    Raises:
        RepositoryError: the file is missing, not UTF-8, or outside the model's folder.
    """
    path = model_folder / label_filename
    if "\0" in label_filename or not path.resolve().is_relative_to(model_folder.resolve()):
        raise RepositoryError(f"label_filename {label_filename!r} leaves the model's folder")
    try:
        return tuple(read_bounded(path, most_bytes=_MOST_LABEL_BYTES).splitlines())
    except (OSError, ValueError) as error:  # those of UTF-8 and of the bound too
        reason = error.strerror if isinstance(error, OSError) else error
        raise RepositoryError(f"the labels in {label_filename} cannot be read: {reason}") from error


def _subfolders(folder: Path) -> list[Path]:
    # A name with a dot in front is an export that is being written.
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _is_model(folder: Path) -> bool:
    return (folder / CONFIG_FILE).exists() or any(_is_number(p.name) for p in _subfolders(folder))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _scan_folder(folder: Path, config: str | None) -> list[VersionFolder | BrokenModel]:
    """What a folder of the repository wants served; one that is broken says so."""
    try:
        if _is_model(folder):
            return _scan_model(folder, config)
    except RepositoryError as error:
        return [BrokenModel(folder.name, "", str(error))]
    except OSError as error:
        return [BrokenModel(folder.name, "", f"it cannot be read: {error.strerror}")]
    _logger.info(
        "folder %s is no model: it has neither %s nor a version folder", folder.name, CONFIG_FILE
    )
    return []


def _scan_model(folder: Path, config: str | None) -> list[VersionFolder | BrokenModel]:
    versions = _find_versions(folder)
    config_file = read_config(folder) if config is None else parse_config(config, folder.name)
    if config_file is None:
        if any((version / MANIFEST_FILE).exists() for version in versions.values()):
            raise RepositoryError(
                f"{CONFIG_FILE} is missing, though {MANIFEST_FILE} shows that it was exported; "
                "export the model again"
            )
        config_file = empty_config()
    found: list[VersionFolder | BrokenModel] = []
    for number in _choose(config_file, sorted(versions)):
        if number in versions:
            found.append(VersionFolder(folder.name, str(number), versions[number], config_file))
        else:
            reason = f"version_policy asks for version {number}, but there is no such folder"
            found.append(BrokenModel(folder.name, str(number), reason))
    return found


def _find_versions(folder: Path) -> dict[int, Path]:
    by_number = defaultdict(list)
    for path in folder.iterdir():
        if path.is_dir() and _is_number(path.name):
            by_number[int(path.name)].append(path)
    for number, paths in by_number.items():
        if len(paths) > 1:
            names = " and ".join(repr(path.name) for path in sorted(paths))
            raise RepositoryError(f"folders {names} are the same version {number}; remove one")
    # Triton overlooks folders that begin with a zero, and so do we.
    versions = {n: paths[0] for n, paths in by_number.items() if paths[0].name == str(n) and n > 0}
    if not versions:
        raise RepositoryError("there is no version folder; versions are called 1, 2, 3, ...")
    return versions


def _choose(config_file: ConfigFile, numbers: list[int]) -> list[int]:
    policy = config_file.message.version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return numbers
        case "specific":
            return sorted(set(policy.specific.versions))
        case _:
            return numbers[-max(1, policy.latest.num_versions) :]


def _check_hash(folder: Path, name: str, expected: str, *, hash_of: Callable[[Path], str]) -> None:
    if "\0" in name or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise RepositoryError(f"{MANIFEST_FILE} lists {name!r}, which leaves the model's folder")
    try:
        found = hash_of(folder / name)
    except OSError as error:
        raise RepositoryError(f"{name} cannot be read: {error.strerror}") from error
    if found != expected:
        raise RepositoryError(
            f"{name} has the SHA-256 {found[:_SHOWN_DIGITS]}..., {MANIFEST_FILE} says "
            f"{expected[:_SHOWN_DIGITS]}...: it was changed or damaged since its export; "
            "export the model again"
        )
