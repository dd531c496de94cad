"""What a repository entry says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch.export import ExportedProgram

from eyespot.exporter.errors import OriginalError, RepositoryError
from eyespot.exporter.model_config import read_config
from eyespot.exporter.original_file import read_program
from eyespot.exporter.repository import check_name, list_models
from eyespot.v1.manifest import (
    CONFIG_FILE,
    MANIFEST_FILE,
    ORIGINAL_FILE,
    Derivation,
    ManifestError,
    ParityReport,
    Provenance,
    TensorSpec,
    read_manifest,
)
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.v1.repository_folders import list_versions


@dataclass(frozen=True)
class Entry:
    """One version of one model, as its files describe it.

    Attributes:
        model_name: Its model.
        model_version: The one described.
        model_versions: All that are there, the latest last.
        inputs: Of the graph.
        outputs: Of the graph.
        max_batch_size: 0 if it is not batched.
        is_explainable: It has a PyTorch original.
        parameter_count: None when nobody counted.
        opset_version: Of the ONNX graph.
        parity: None for a model that was not exported from PyTorch.
        preprocessing: None if the graph takes what the network takes.
        provenance: Where the network came from.
        files: Size in bytes by name.
        library_versions: What wrote it.
        derivations: How it was made from another version, the last step last.
    """

    model_name: str
    model_version: str
    model_versions: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    is_explainable: bool
    parameter_count: int | None
    opset_version: int
    parity: ParityReport | None
    preprocessing: PreprocessingRule | None
    provenance: Provenance
    files: Mapping[str, int]
    library_versions: Mapping[str, str]
    derivations: tuple[Derivation, ...] = ()


def inspect_entry(repository: Path | str, name: str, version: str | None = None) -> Entry:
    """Read what a model version says of itself; nothing is run.

    Args:
        repository: A folder of models.
        name: Of the model.
        version: The latest if not told.

    Raises:
        RepositoryError: There is no such entry, or it was not written by Eyespot.
    """
    repository = Path(repository)
    models = list_models(repository)
    if check_name(name) not in models:
        raise RepositoryError(f"no model {name!r} in {repository}: there are {models}")
    versions = list_versions(repository / name)
    if not versions or (version is not None and version not in versions):
        raise RepositoryError(f"{name} has no version {version or 'at all'}: there are {versions}")
    version = version or versions[-1]
    folder = repository / name / version
    try:
        manifest = read_manifest(folder / MANIFEST_FILE)
    except ManifestError as error:
        raise RepositoryError(
            f"{name} version {version} cannot be inspected ({error}): an ONNX file from elsewhere "
            "gets its manifest when it is added"
        ) from error
    config = read_config(repository / name / CONFIG_FILE)
    return Entry(
        model_name=name,
        model_version=version,
        model_versions=tuple(versions),
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        max_batch_size=config.max_batch_size,
        is_explainable=manifest.gradient_node is not None,
        parameter_count=manifest.parameter_count,
        opset_version=manifest.opset_version,
        parity=manifest.parity,
        preprocessing=manifest.preprocessing,
        provenance=manifest.provenance,
        files={
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
        library_versions=manifest.library_versions,
        derivations=manifest.derivations,
    )


def entry_program(repository: Path | str, name: str, version: str | None = None) -> ExportedProgram:
    """Read the captured program of a model version; nothing in it is unpickled.

    Args:
        repository: A folder of models.
        name: Of the model.
        version: The latest if not told.

    Raises:
        RepositoryError: There is no such entry.
        OriginalError: It has no PyTorch original, or that cannot be read.
    """
    entry = inspect_entry(repository, name, version)
    if not entry.is_explainable:
        raise OriginalError(f"{name} has no PyTorch original: there are no layers to look at")
    return read_program(Path(repository) / name / entry.model_version / ORIGINAL_FILE)
