"""The manifest of a model version: what Triton's configuration has no word for.

`manifest.json` lies beside `model.onnx` and tells where the network came from, how its
pictures are prepared, how well the two artefacts agree, and the SHA-256 of each file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eyespot.v1.bounded_text import read_bounded
from eyespot.v1.field_types import check_field_types
from eyespot.v1.plain_values import plain
from eyespot.v1.preprocessing import PreprocessingError, PreprocessingRule

CONFIG_FILE = "config.pbtxt"
LABELS_FILE = "labels.txt"
MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"
# A key of ModelConfig.parameters, and its value where a row may have any number of classes.
CLASSES_PARAMETER = "classes"
INDEPENDENT = "independent"
# Kinds of derivations: to compute in whole numbers, and to compute the same in fewer steps.
QUANTISED = "quantised"
OPTIMISED = "optimised"
ORIGINAL_FILE = "original.pt2"
# The gradient by the input, by how it passes rectifiers; and that by the layer that Grad-CAM takes
# where none is named.
GRADIENT_FILES = {
    "derivative": "gradient.onnx",
    "guided": "gradient_guided.onnx",
    "deconvnet": "gradient_deconvnet.onnx",
}
LAYER_GRADIENT_FILE = "gradient_layer.onnx"
# What a derived version's gradients read their weights from: `model.onnx` has others there.
ORIGINAL_GRAPH_FILE = "original.onnx"
MANIFEST_FILE = "manifest.json"

# 2 adds what the second format tells of other tasks than classification; the first still reads.
FORMAT_VERSION = 2
_READABLE = (1, 2)
# A thousand parity cases take a tenth of it.
_MOST_BYTES = 4 << 20


class ManifestError(ValueError):
    """A manifest that cannot be read or does not say what it must."""


class Provenance(NamedTuple):
    """Where a network came from.

    Attributes:
        architecture: The zoo's name, or the module's class.
        paper: Authors and title; empty when unknown.
        year: Of the paper.
        weights: A file name, a published name, or "random".
        weights_sha256: Of the weights file, when there is one.
        training: What is known of the training, such as accuracy and seed.
        transform_input: Whether the network re-normalises its input inside, as torchvision's
            GoogLeNet and Inception were trained to; None where it has no such switch.
        fine_tuning: How the weights above were fine-tuned: the data's hash, the recipe and what
            was measured; empty where they are served as they are.
    """

    architecture: str
    paper: str = ""
    year: int | None = None
    weights: str = ""
    weights_sha256: str | None = None
    training: Mapping[str, Any] = {}
    transform_input: bool | None = None
    fine_tuning: Mapping[str, Any] = {}


class TensorSpec(NamedTuple):
    """An input or output; a dynamic dimension stands in the shape by its name."""

    name: str
    datatype: str
    shape: tuple[int | str, ...]


class DynamicAxis(NamedTuple):
    """A size that each request may choose, beside the number of its rows.

    Attributes:
        name: As it stands in the shapes of the inputs.
        minimum: The smallest size that the network takes.
        example: A usual size: the one that the network was captured with.
    """

    name: str
    minimum: int
    example: int


class ParityCase(NamedTuple):
    """How far ONNX Runtime was from the PyTorch original on one batch.

    Attributes:
        source: "random", with the sizes of dynamic axes, or what pictures were used.
        batch_size: Rows in the batch.
        output: Name of the output.
        max_abs_diff: Largest absolute difference of any element.
        max_rel_diff: The same, over the largest magnitude in the original's output.
        top1_agreement: Fraction of rows, pixels or steps with the same top class; None for an
            output without classes.
    """

    source: str
    batch_size: int
    output: str
    max_abs_diff: float
    max_rel_diff: float
    top1_agreement: float | None


class GradientParityCase(NamedTuple):
    """How far the gradients of an ONNX graph were from PyTorch's.

    A rectifier within rounding of zero may flip and move a few pixels, so no maximum is taken.

    Attributes:
        gradient: What is by what, and how it passes rectifiers.
        rows: How many random inputs.
        median_rel_l2: Of the rows: the norm of the difference over that of PyTorch's gradient.
        least_cosine: Of the rows: the cosine of the angle between the two.
        own_rel_l2: The same distance of PyTorch's gradients from PyTorch's when each weight is
            moved to a number next to it, in the mean; 0 where nobody had to know.
        own_cosine: The least cosine of the same.
    """

    gradient: str
    rows: int
    median_rel_l2: float
    least_cosine: float
    own_rel_l2: float = 0.0
    own_cosine: float = 1.0


class ParityReport(NamedTuple):
    """The proof: the tolerance that was asked for, and every comparison made.

    An element may differ by `atol` plus `rtol` times the output's scale.
    """

    atol: float
    rtol: float
    cases: tuple[ParityCase, ...]
    gradients: tuple[GradientParityCase, ...] = ()

    def __str__(self) -> str:
        """Write a table: the tolerance, the columns, one line for each case."""
        rows = [("inputs", "batch", "output", "max abs diff", "max rel diff", "top-1")]
        rows += [
            (
                case.source,
                str(case.batch_size),
                case.output,
                f"{case.max_abs_diff:.3g}",
                f"{case.max_rel_diff:.3g}",
                "-" if case.top1_agreement is None else f"{case.top1_agreement:.2%}",
            )
            for case in self.cases
        ]
        lines = [f"tolerance {self.atol:g} + {self.rtol:g} x scale", *_aligned(rows)]
        if self.gradients:
            table = [("gradients", "inputs", "median relative L2", "least cosine")]
            table += [
                (each.gradient, str(each.rows), f"{each.median_rel_l2:.3g}", _cosine(each))
                for each in self.gradients
            ]
            lines += ["", *_aligned(table)]
        return "\n".join(lines)


class GradientLayer(NamedTuple):
    """A layer whose maps and their gradients are given.

    Attributes:
        name: Of the node of the original.
        shape: Of these maps, without the rows; -1 is a size that varies.
        modules: Of the original, whose last map it is; the innermost first.
    """

    name: str
    shape: tuple[int, ...]
    modules: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """The shape, with None for each size that varies."""
        return tuple(None if size < 0 else size for size in self.shape)


class GradientGraphs(NamedTuple):
    """The gradient as ONNX graphs beside `model.onnx`, whose weights they share.

    Attributes:
        layer: The node of the original whose maps and their gradients are given where no layer
            is named; None where there is none.
        layer_shape: Of these maps, without the rows; -1 is a size that varies.
        bytes_per_element: Of a row: how much memory there and back take.
        reason: Why there are none; empty where there are.
        no_rectifiers: Why rectifiers have no rule but their own; empty where they have.
        further_layers: Those that were asked for by their names.
        layer_modules: Whose last map `layer` is; the innermost first.
    """

    layer: str | None = None
    layer_shape: tuple[int, ...] = ()
    bytes_per_element: float = 0.0
    reason: str = ""
    no_rectifiers: str = ""
    further_layers: tuple[GradientLayer, ...] = ()
    layer_modules: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[GradientLayer, ...]:
        """All of them; first the one that is taken where none is named."""
        if self.layer is None:
            return ()
        first = GradientLayer(self.layer, self.layer_shape, self.layer_modules)
        return (first, *self.further_layers)

    @property
    def files(self) -> tuple[str, ...]:
        """Those that there are."""
        if self.reason:
            return ()
        rules = ("derivative",) if self.no_rectifiers else tuple(GRADIENT_FILES)
        by_layer = (self.file_of("derivative", layer=each.name) for each in self.layers)
        return (*(GRADIENT_FILES[rule] for rule in rules), *by_layer)

    def file_of(self, rectifier: str, *, layer: str | None) -> str:
        """The file of the gradient by the input, or of that by a layer alone.

        Args:
            rectifier: How it passes rectifiers; by a layer alone there is the derivative.
            layer: Its name.
        """
        if layer is None:
            return GRADIENT_FILES[rectifier]
        if layer == self.layer:
            return LAYER_GRADIENT_FILE
        return LAYER_GRADIENT_FILE.replace(".onnx", f"_{layer}.onnx")


class Derivation(NamedTuple):
    """One step by which a version was made from another.

    Attributes:
        kind: "quantised", "float16", "int8 weights" or "optimised".
        model_name: What it was made from.
        model_version: The same.
        model_sha256: Of the graph that it was made from.
        top1_agreement: Fraction of pictures to which both give the same top class; None where
            nobody looked at pictures.
        pictures: How many that were.
        settings: How it was made.
        measured: What came of it, such as accuracy, sizes and speed.
    """

    kind: str
    model_name: str
    model_version: str
    model_sha256: str
    top1_agreement: float | None = None
    pictures: int = 0
    settings: Mapping[str, Any] = {}
    measured: Mapping[str, Any] = {}

    def __str__(self) -> str:
        """Say what it was made from."""
        return f"{self.kind} from {self.model_name} version {self.model_version}"


class Manifest(NamedTuple):
    """Everything about one model version.

    Attributes:
        channel_axis: Of the first input, in its own axis order; None when it has none.
        gradient_node: The node of the original's graph at which gradients begin; None
            when there is no original, or no one place: symbols have no gradient.
        parity: None for a model that was not exported from PyTorch.
        files: SHA-256 by file name, relative to the version's folder.
        library_versions: What wrote the version, by distribution name.
        task: What the outputs mean, in the zoo's words.
        dynamic_axes: Sizes beside the rows that each request may choose.
        symbols: How many symbols there are, by the name of each input of whole numbers.
        derivations: How it was made from another version, if it was; the last step last. Its
            original is then that version's, and `parity` tells how far it is from it.
        gradient_graphs: What was said of them at export; None where nobody asked for any.
    """

    model_name: str
    model_version: str
    provenance: Provenance
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    channel_axis: int | None
    gradient_node: str | None
    preprocessing: PreprocessingRule | None
    parity: ParityReport | None
    opset_version: int
    parameter_count: int | None
    files: Mapping[str, str]
    library_versions: Mapping[str, str]
    task: str = "classification"
    dynamic_axes: tuple[DynamicAxis, ...] = ()
    symbols: Mapping[str, int] = {}
    gradient_graphs: GradientGraphs | None = None
    derivations: tuple[Derivation, ...] = ()

    @property
    def is_quantised(self) -> bool:
        """Whether the graph computes in whole numbers, other than its original."""
        return any(step.kind == QUANTISED for step in self.derivations)

    @property
    def lossy_derivation(self) -> Derivation | None:
        """The step that made another network of its original; None where they are the same."""
        return next((step for step in self.derivations if step.kind != OPTIMISED), None)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest as JSON, keys in the order of the fields."""
    values = {"format_version": FORMAT_VERSION, **plain(manifest)}
    # Where nobody asked for gradient graphs, readers that do not know them can read on.
    if manifest.gradient_graphs is None:
        del values["gradient_graphs"]
    elif not manifest.gradient_graphs.further_layers:
        del values["gradient_graphs"]["further_layers"]
    if manifest.parity is not None and not manifest.parity.gradients:
        del values["parity"]["gradients"]
    path.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        ManifestError: It is missing, no JSON, of another format version, or lacks a field.
    """
    try:
        values = json.loads(read_bounded(path, most_bytes=_MOST_BYTES))
    except RecursionError as error:
        raise ManifestError(f"{path.name} cannot be read: it is nested too deeply") from error
    except (OSError, ValueError) as error:  # those of UTF-8, of JSON and of the bound too
        raise ManifestError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ManifestError(f"{path.name} must hold a JSON object, found {type(values).__name__}")
    found = values.pop("format_version", None)
    if found not in _READABLE:
        raise ManifestError(f"{path.name} has format_version {found}, expected {FORMAT_VERSION}")
    try:
        return _from_json(values)
    except (KeyError, TypeError, AttributeError, PreprocessingError) as error:
        raise ManifestError(f"{path.name} is not a manifest: {error!r}") from error


def _from_json(values: dict[str, Any]) -> Manifest:
    rule, parity = values["preprocessing"], values["parity"]
    read = {
        "provenance": Provenance(**values["provenance"]),
        "inputs": _specs(values["inputs"]),
        "outputs": _specs(values["outputs"]),
        "preprocessing": None if rule is None else PreprocessingRule.from_json(rule),
        "parity": None if parity is None else _parity(parity),
        "files": _texts(values["files"]),
        "library_versions": _texts(values["library_versions"]),
        "dynamic_axes": tuple(DynamicAxis(**axis) for axis in values.get("dynamic_axes", ())),
        "gradient_graphs": _gradient_graphs(values.get("gradient_graphs")),
        "derivations": tuple(Derivation(**step) for step in values.get("derivations", ())),
    }
    manifest = Manifest(**{**values, **read})
    check_field_types(manifest)
    return manifest


def _specs(values: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(**{**value, "shape": tuple(value["shape"])}) for value in values)


def _parity(value: dict[str, Any]) -> ParityReport:
    cases = tuple(ParityCase(**case) for case in value["cases"])
    gradients = tuple(GradientParityCase(**case) for case in value.get("gradients", ()))
    return ParityReport(**{**value, "cases": cases, "gradients": gradients})


def _gradient_graphs(value: dict[str, Any] | None) -> GradientGraphs | None:
    if value is None:
        return None
    further = [
        GradientLayer(each["name"], tuple(each["shape"]), tuple(each.get("modules", ())))
        for each in value.get("further_layers", ())
    ]
    read = {
        "layer_shape": tuple(value["layer_shape"]),
        "layer_modules": tuple(value.get("layer_modules", ())),
        "further_layers": tuple(further),
    }
    return GradientGraphs(**{**value, **read})


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cosine(case: GradientParityCase) -> str:
    return f"{case.least_cosine:.6f}"


def _texts(value: dict[str, Any]) -> dict[str, str]:
    if not all(isinstance(text, str) for text in value.values()):
        raise TypeError("expected texts")
    return dict(value)
