"""Networks side by side: what they cost, how fast they are here, how often they are wrong."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch.export import ExportedProgram

from eyespot.exporter.errors import RepositoryError
from eyespot.exporter.gradient_norms import depth_of, gradient_norms
from eyespot.exporter.inspect import entry_program, inspect_entry
from eyespot.exporter.latency import BATCH_SIZES, Latency, measure_latencies, runner
from eyespot.exporter.layers import layer_table
from eyespot.exporter.parity import open_session
from eyespot.exporter.published_errors import PUBLISHED_ERRORS, PublishedError
from eyespot.exporter.zoo_export import export_zoo_model
from eyespot.v1.manifest import MODEL_FILE
from eyespot.zoo import model_entry

Progress = Callable[[str], None]

_IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class EntryPlace:
    """A model version in a repository.

    Attributes:
        repository: A folder of models.
        name: Of the model.
        version: The latest if None.
    """

    repository: Path
    name: str
    version: str | None = None


@dataclass(frozen=True)
class ComparedNetwork:
    """One network among those compared.

    Attributes:
        name: Of the zoo, or of the model.
        parameters: Numbers in all parameters, frozen ones too.
        macs: For one row.
        depth: Layers with weights on the longest path.
        receptive_field: Of the last spatial map, by axis; None if there is none.
        model_bytes: Of model.onnx.
        latency_ms: Of ONNX Runtime, for one row.
        latency_ratio: To the first network's.
        best_batch: The number of rows that takes the least time for each.
        best_ms: For one row in such a batch.
        best_ratio: To the first network's.
        error: Published for the network with its own weights; None if we know of none.
        gradient_norms: By depth; empty unless two networks of equal depth are compared.
    """

    name: str
    parameters: int
    macs: int
    depth: int
    receptive_field: tuple[int, ...] | None
    model_bytes: int
    latency_ms: float
    latency_ratio: float
    best_batch: int
    best_ms: float
    best_ratio: float
    error: PublishedError | None
    gradient_norms: tuple[float, ...] = ()


def compare_networks(
    networks: Sequence[str | EntryPlace],
    *,
    repeats: int = 7,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress | None = None,
) -> list[ComparedNetwork]:
    """Put networks of the zoo, with random weights, and entries of repositories side by side.

    Args:
        networks: Names of the zoo, or places in a repository.
        repeats: Runs of each, of which the median counts.
        batch_sizes: Among which the best is looked for.
        seed: Of random weights and inputs.
        clock: Seconds that never run backwards.
        progress: Told what is being done.

    Raises:
        ZooError: There is no network of a name.
        ExportError: There is no such entry, it has no PyTorch original, or it cannot be exported.
    """
    tell = progress or (lambda _: None)
    if not networks:
        raise RepositoryError("there is nothing to compare: name at least one network")
    for network in networks:
        if isinstance(network, str):
            model_entry(network)
    with tempfile.TemporaryDirectory() as folder:
        places = []
        for number, network in enumerate(networks):
            if isinstance(network, EntryPlace):
                places.append(network)
                continue
            tell(f"exporting {network}")
            place = EntryPlace(Path(folder) / str(number), network)
            export_zoo_model(network, repository=place.repository, preprocessing="none", seed=seed)
            places.append(place)
        subjects = [_Subject(place) for place in places]
        tell(f"timing {len(subjects)} networks in turns")
        latencies = measure_latencies(
            [subject.runner() for subject in subjects],
            batch_sizes=batch_sizes,
            repeats=repeats,
            clock=clock,
        )
        norms = _norms(subjects, seed=seed)
        return [
            subject.compared(latency, latencies[0], found)
            for subject, latency, found in zip(subjects, latencies, norms, strict=True)
        ]


class _Subject:
    """What is known of one network before it is timed."""

    def __init__(self, place: EntryPlace) -> None:
        self._entry = inspect_entry(place.repository, place.name, place.version)
        self.program: ExportedProgram = entry_program(place.repository, place.name, place.version)
        self._file = place.repository / place.name / self._entry.model_version / MODEL_FILE
        self._table = layer_table(self.program)
        self.depth = depth_of(self.program)

    def runner(self) -> Callable[[int], object]:
        return runner(open_session(self._file), self._table.input_shapes)

    def compared(
        self, latency: Latency, first: Latency, norms: tuple[float, ...]
    ) -> ComparedNetwork:
        last = self._table.last_map
        return ComparedNetwork(
            name=self._entry.model_name,
            parameters=self._table.parameters,
            macs=self._table.macs,
            depth=self.depth,
            receptive_field=None if last is None else tuple(each.size for each in last.fields),
            model_bytes=self._entry.files[MODEL_FILE],
            latency_ms=1000 * latency.single,
            latency_ratio=latency.single / first.single,
            best_batch=latency.best_batch,
            best_ms=1000 * latency.best,
            best_ratio=latency.best / first.best,
            error=self._published(),
            gradient_norms=norms,
        )

    def _published(self) -> PublishedError | None:
        """Look up the error of the architecture, unless it tells other classes apart."""
        if self._entry.outputs[0].shape[-1] != _IMAGENET_CLASSES:
            return None
        return PUBLISHED_ERRORS.get(self._entry.provenance.architecture or "")


def _norms(subjects: Sequence[_Subject], *, seed: int) -> list[tuple[float, ...]]:
    """Differentiate two networks of equal depth; others would not lie on one axis."""
    if len(subjects) == 2 and subjects[0].depth == subjects[1].depth:
        found = [gradient_norms(subject.program, seed=seed) for subject in subjects]
        if all(found):
            return [norms or () for norms in found]
    return [() for _ in subjects]
