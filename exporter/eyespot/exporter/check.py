"""A repository examined again: files against their hashes, artefacts against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eyespot.exporter.errors import ExportError, ParityError, RepositoryError
from eyespot.exporter.labels import check_labels, read_labels
from eyespot.exporter.model_config import read_config
from eyespot.exporter.original_file import open_original
from eyespot.exporter.parity import (
    class_axis,
    measure,
    open_session,
    random_batches,
    run_session,
)
from eyespot.exporter.repository import list_models
from eyespot.v1.external_data import ExternalDataError, check_external_data
from eyespot.v1.manifest import (
    CONFIG_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    ORIGINAL_FILE,
    Manifest,
    ManifestError,
    ParityReport,
    read_manifest,
)
from eyespot.v1.model_config_pb2 import ModelConfig
from eyespot.v1.preprocessing import PreprocessingError, PreprocessingRule
from eyespot.v1.repository_folders import list_versions
from eyespot.v1.sha256 import sha256_of

_SHOWN_DIGITS = 12  # of a hash: enough to compare by eye

Progress = Callable[[str], None]


@dataclass(frozen=True)
class CheckResult:
    """What was found out about one model version.

    Attributes:
        model_name: Its model.
        model_version: Empty for a model without one.
        ok: Nothing is wrong with it.
        reasons: What is wrong with it.
        notes: What could not be checked, and why that is no fault.
        parity: As measured now.
        derivation: How it was made from another version; empty for most.
    """

    model_name: str
    model_version: str
    ok: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    parity: ParityReport | None = None
    derivation: str = ""


def check_repository(
    repository: Path | str, *, seed: int = 0, progress: Progress | None = None
) -> list[CheckResult]:
    """Check every version of every model: one that is broken hides no other.

    Args:
        repository: A folder of models.
        seed: Of the random inputs.
        progress: Told what is being done.

    Raises:
        RepositoryError: There is no such folder.
    """
    results = []
    for name in list_models(Path(repository)):
        folder = Path(repository) / name
        if list_versions(folder) or (folder / CONFIG_FILE).exists():
            results += check_model(repository, name, seed=seed, progress=progress)
        elif progress:
            progress(f"{name} is no model: it has neither {CONFIG_FILE} nor a version")
    return results


def check_model(
    repository: Path | str,
    name: str,
    *,
    version: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[CheckResult]:
    """Check every version of one model.

    Args:
        repository: A folder of models.
        name: Of the model.
        version: The only one to check.
        seed: Of the random inputs.
        progress: Told what is being done.

    Raises:
        RepositoryError: There is no such folder, model or version.
    """
    there = list_models(Path(repository))
    if name not in there:
        known = ", ".join(there) or "none"
        raise RepositoryError(f"no model {name!r} in {repository}; its models: {known}")
    folder = Path(repository) / name
    versions = list_versions(folder)
    if version is not None and version not in versions:
        known = ", ".join(versions) or "none"
        raise RepositoryError(f"{name} has no version {version}; its versions: {known}")
    if not versions:
        return [CheckResult(name, "", False, ("it has no version",))]
    numbers = [int(each) for each in versions]
    results = []
    for each in versions if version is None else [version]:
        if progress:
            progress(f"checking {name} version {each}")
        examination = _Examination(folder, each, seed)
        if numbers.count(int(each)) > 1:
            examination.reasons.append(f"version {int(each)} is there twice")
        results.append(examination.run())
    return results


class _Examination:
    """The steps of one version's check, and what they find."""

    def __init__(self, model: Path, version: str, seed: int) -> None:
        self.model = model
        self.version = version
        self.folder = model / version
        self.seed = seed
        self.reasons: list[str] = []
        self.notes: list[str] = []
        self.parity: ParityReport | None = None
        self.derivation = ""

    def run(self) -> CheckResult:
        """Take every step that can still be taken."""
        config = self._read_config()
        if (self.folder / MANIFEST_FILE).exists():
            self._check_manifest(config)
        else:
            self.notes.append(f"no {MANIFEST_FILE}: there are no hashes to compare with")
            if self._check_external_data(None):
                self._open()
        return CheckResult(
            self.model.name,
            self.version,
            not self.reasons,
            tuple(self.reasons),
            tuple(self.notes),
            self.parity,
            self.derivation,
        )

    def _read_config(self) -> ModelConfig | None:
        try:
            config = read_config(self.model / CONFIG_FILE)
            for output in config.output:
                if output.label_filename:
                    labels = read_labels(self.model / output.label_filename)
                    # Logits of each pixel are (classes, height, width).
                    axis = 0 if len(output.dims) == 3 else -1
                    classes = output.dims[axis] if output.dims else -1
                    check_labels(labels, classes=classes if classes >= 0 else None)
        except ExportError as error:
            self.reasons.append(str(error))
            return None
        return config

    def _check_manifest(self, config: ModelConfig | None) -> None:
        try:
            manifest = read_manifest(self.folder / MANIFEST_FILE)
        except ManifestError as error:
            self.reasons.append(str(error))
            return
        self.derivation = ", ".join(map(str, manifest.derivations))
        self._compare(manifest, config)
        # What has changed on disk is not run: its hash is the reason already.
        if self._check_files(manifest) and self._check_external_data(manifest) and self._open():
            self._measure(manifest, config)

    def _compare(self, manifest: Manifest, config: ModelConfig | None) -> None:
        found = (manifest.model_name, manifest.model_version)
        if found != (self.model.name, self.version):
            self.reasons.append(f"{MANIFEST_FILE} is of {found[0]} version {found[1]}")
        if config is None:
            return
        try:
            told_rule = PreprocessingRule.from_parameters(
                {name: value.string_value for name, value in config.parameters.items()}
            )
        except PreprocessingError as error:
            self.reasons.append(f"{CONFIG_FILE}: {error}")
        else:
            if told_rule != manifest.preprocessing:
                self.reasons.append(
                    f"{CONFIG_FILE} tells another preprocessing than the manifest: it is of "
                    "another version"
                )
        for what, specs, tensors in (
            ("inputs", manifest.inputs, config.input),
            ("outputs", manifest.outputs, config.output),
        ):
            skipped = 1 if config.max_batch_size else 0
            told = {
                spec.name: [s if isinstance(s, int) else -1 for s in spec.shape[skipped:]]
                for spec in specs
            }
            configured = {tensor.name: list(tensor.dims) for tensor in tensors}
            if told != configured:
                self.reasons.append(f"{what} {configured} in {CONFIG_FILE}, {told} in the manifest")

    def _check_files(self, manifest: Manifest) -> bool:
        before = len(self.reasons)
        for file, expected in manifest.files.items():
            path = self.folder / file
            if not path.resolve().is_relative_to(self.folder.resolve()) or not path.is_file():
                self.reasons.append(f"{file} is missing")
            elif (found := sha256_of(path)) != expected:
                self.reasons.append(
                    f"{file} has changed: SHA-256 {found[:_SHOWN_DIGITS]}..., written as "
                    f"{expected[:_SHOWN_DIGITS]}..."
                )
        if MODEL_FILE not in manifest.files:
            self.reasons.append(f"{MODEL_FILE} has no hash in {MANIFEST_FILE}")
        return len(self.reasons) == before

    def _check_external_data(self, manifest: Manifest | None) -> bool:
        """Look where the graph keeps its weights: one that leads elsewhere is not opened."""
        try:
            beside = check_external_data(self.folder / MODEL_FILE)
        except OSError as error:
            self.reasons.append(f"{MODEL_FILE} cannot be read: {error.strerror}")
            return False
        except ExternalDataError as error:
            self.reasons.append(str(error))
            return False
        unknown = (
            [] if manifest is None else [file for file in beside if file not in manifest.files]
        )
        self.reasons.extend(f"{file} has no hash in {MANIFEST_FILE}" for file in unknown)
        return not unknown

    def _open(self) -> bool:
        try:
            open_session(self.folder / MODEL_FILE)
        except ExportError as error:
            self.reasons.append(str(error))
            return False
        return True

    def _measure(self, manifest: Manifest, config: ModelConfig | None) -> None:
        if manifest.parity is None or (
            manifest.derivations and ORIGINAL_FILE not in manifest.files
        ):
            self.notes.append(f"no {ORIGINAL_FILE}: it serves without gradients, unproven")
            return
        try:
            original = open_original(
                self.folder / ORIGINAL_FILE, gradient_node=manifest.gradient_node
            )
            self.parity = measure(
                original,
                run_session(open_session(self.folder / MODEL_FILE)),
                random_batches(
                    manifest.inputs,
                    max_batch_size=max(1, config.max_batch_size if config else 1),
                    seed=self.seed,
                    dynamic_axes=manifest.dynamic_axes,
                    symbols=manifest.symbols,
                ),
                outputs=[spec.name for spec in manifest.outputs],
                class_axis=class_axis(manifest.task),
                atol=manifest.parity.atol,
                rtol=manifest.parity.rtol,
            )
        except ParityError as error:
            self.reasons.append(f"parity: {error}")
        except ExportError as error:
            self.reasons.append(str(error))
