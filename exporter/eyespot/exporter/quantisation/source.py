"""The version that another one is made from, opened and looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eyespot.exporter.errors import DerivationError
from eyespot.exporter.inspect import inspect_entry
from eyespot.exporter.labels import read_labels
from eyespot.exporter.model_config import read_config
from eyespot.v1.external_data import check_external_data
from eyespot.v1.manifest import (
    CONFIG_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    Manifest,
    read_manifest,
)
from eyespot.v1.model_config_pb2 import ModelConfig
from eyespot.v1.sha256 import sha256_of

# Of one file of protobuf, less room for the graph itself.
MOST_BYTES = 2**31 - 2**24


@dataclass(frozen=True)
class Source:
    """A version as its files describe it.

    Attributes:
        repository: The folder of models.
        manifest: What it says of itself.
        config: Of its model.
        labels: Of its classes; None when there are none.
    """

    repository: Path
    manifest: Manifest
    config: ModelConfig
    labels: tuple[str, ...] | None

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.repository / self.manifest.model_name / self.manifest.model_version

    @property
    def graph(self) -> Path:
        """What is served."""
        return self.folder / MODEL_FILE

    @property
    def max_batch_size(self) -> int:
        """Most rows of a batch; 1 for a model that is not batched."""
        return max(1, self.config.max_batch_size)

    @property
    def picture_shape(self) -> tuple[int, int] | None:
        """(height, width) of the pixels that it takes; None where any will do."""
        height, width = self.manifest.inputs[0].shape[1:3]
        is_fixed = isinstance(height, int) and isinstance(width, int)
        return (int(height), int(width)) if is_fixed else None

    @property
    def row_shapes(self) -> list[tuple[int, ...]]:
        """One row of each input, with usual sizes where they vary."""
        usual = {axis.name: axis.example for axis in self.manifest.dynamic_axes}
        return [
            tuple(size if isinstance(size, int) else usual.get(size, 1) for size in spec.shape)
            for spec in self.manifest.inputs
        ]

    @property
    def graph_bytes(self) -> int:
        """How much disk the graph and its weights take."""
        beside = check_external_data(self.graph)
        return sum(path.stat().st_size for path in (self.graph, *map(self.folder.joinpath, beside)))

    @property
    def root_to_give(self) -> str:
        """What to say to someone who gave a derived version: the exported one behind it."""
        root = self.manifest.derivations[0]
        return f"give {self.repository / root.model_name / root.model_version}"

    def __str__(self) -> str:
        """Name it."""
        return f"{self.manifest.model_name} version {self.manifest.model_version}"


def open_source(repository: Path, name: str, version: str | None) -> Source:
    """Read a version that another one is to be made from.

    Raises:
        RepositoryError: There is no such version, or it has no manifest.
        DerivationError: Its graph is not the one that was written, or is too large.
    """
    entry = inspect_entry(repository, name, version)
    folder = repository / name / entry.model_version
    labels = repository / name / LABELS_FILE
    source = Source(
        repository,
        read_manifest(folder / MANIFEST_FILE),
        read_config(repository / name / CONFIG_FILE),
        read_labels(labels) if labels.exists() else None,
    )
    if sha256_of(source.graph) != source.manifest.files.get(MODEL_FILE):
        raise DerivationError(f"{source}: {MODEL_FILE} has changed since it was written")
    if source.graph_bytes > MOST_BYTES:
        raise DerivationError(
            f"{source} takes {source.graph_bytes / 2**30:.1f} GiB: at most 2 GiB can be worked on, "
            "the size of one file of protobuf"
        )
    return source
