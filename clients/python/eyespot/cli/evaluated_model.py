"""A model version opened from its files, without a server: what scores and what differentiates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyespot.cli.errors import CommandError
from eyespot.v1.manifest import (
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    ORIGINAL_FILE,
    Manifest,
    read_manifest,
)
from eyespot.v1.preprocessing import PreprocessingRule

if TYPE_CHECKING:
    from eyespot.saliency import RandomisableBackend, Scorer

_BRIGHTEST = 255  # of a pixel as the network takes it


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """A classifier of pictures.

    Attributes:
        name: Its model.
        version: The one that was opened.
        labels: Of its classes; empty when there are none.
        rule: From a picture to what the network takes.
        scorer: What is served, on ONNX Runtime.
        backend: Its PyTorch original; None when there is none.
        no_backend: Why there is none.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    rule: PreprocessingRule
    scorer: Scorer
    backend: RandomisableBackend | None
    no_backend: str

    @property
    def mean_pixel(self) -> NDArray[np.float64]:
        """What normalisation makes zero, by channel: (C,)."""
        return np.array(self.rule.mean) * _BRIGHTEST


def open_model(
    repository: Path,
    name: str,
    version: str | None,
    *,
    num_threads: int | None,
    memory_mib: int,
) -> EvaluatedModel:
    """Open a model version.

    Args:
        repository: A folder of models.
        name: Of the model.
        version: The latest if None.
        num_threads: That compute gradients; PyTorch's own choice if None.
        memory_mib: Most memory that gradients may take beside the weights.

    Raises:
        CommandError: It does not classify pictures.
        ExportError: There is no such version, or ONNX Runtime cannot open it.
        OriginalError: The original is there, and cannot be read.
    """
    from eyespot.exporter import inspect_entry
    from eyespot.exporter.labels import read_labels

    entry = inspect_entry(repository, name, version)
    folder = repository / name / entry.model_version
    manifest = read_manifest(folder / MANIFEST_FILE)
    rule = _check(manifest)
    labels = repository / name / LABELS_FILE
    backend, no_backend = _open_original(
        folder, manifest, num_threads=num_threads, memory_mib=memory_mib
    )
    return EvaluatedModel(
        name,
        entry.model_version,
        read_labels(labels) if labels.exists() else (),
        rule,
        _open_session(folder, manifest, max_rows=max(1, entry.max_batch_size)),
        backend,
        no_backend,
    )


def _check(manifest: Manifest) -> PreprocessingRule:
    """Check that the model tells pictures apart."""
    if manifest.task != "classification":
        raise CommandError(
            f"{manifest.model_name} is a network of {manifest.task}: deletion, insertion and "
            "pointing are about the probability of a class; name a classifier"
        )
    if manifest.preprocessing is None:
        raise CommandError(
            f"{manifest.model_name} takes arrays and not pictures: it has no preprocessing rule; "
            "export it with one"
        )
    return manifest.preprocessing


def _open_session(folder: Path, manifest: Manifest, *, max_rows: int) -> Scorer:
    from eyespot.exporter.parity import open_session, run_session
    from eyespot.saliency import SessionScorer

    run = run_session(open_session(folder / MODEL_FILE))
    sizes = manifest.outputs[0].shape[1:]
    return SessionScorer(
        lambda x: run(x)[0],
        output_shape=[size if isinstance(size, int) else -1 for size in sizes],
        channel_axis=manifest.channel_axis,
        max_rows=max_rows,
    )


def _open_original(
    folder: Path, manifest: Manifest, *, num_threads: int | None, memory_mib: int
) -> tuple[RandomisableBackend | None, str]:
    if manifest.gradient_node is None:
        return None, "it has no PyTorch original"
    if not (folder / ORIGINAL_FILE).exists():
        return None, f"its {ORIGINAL_FILE} is not there"
    from eyespot.saliency.torch_backend import TorchBackend

    return TorchBackend.load(
        folder / ORIGINAL_FILE,
        gradient_node=manifest.gradient_node,
        channel_axis=manifest.channel_axis,
        num_threads=num_threads,
        memory_mib=memory_mib,
    ), ""
