"""The composition: a served FP32 version and pictures in, an INT8 version with its proof out."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyespot.exporter.errors import CalibrationError, DerivationError, NotWorthwhileError
from eyespot.exporter.parity import Run, class_axis, open_session, run_session
from eyespot.exporter.quantisation.agreement import Agreement, Judge
from eyespot.exporter.quantisation.calibration import Calibration, read_calibration
from eyespot.exporter.quantisation.conversion import measure
from eyespot.exporter.quantisation.derive import Derived, derivation, derived_name, write_derived
from eyespot.exporter.quantisation.graph import PreparedGraph, prepare
from eyespot.exporter.quantisation.maps import METHOD, map_correlation
from eyespot.exporter.quantisation.processor import Scheme
from eyespot.exporter.quantisation.quantiser import Quantiser
from eyespot.exporter.quantisation.recipe import Recipe
from eyespot.exporter.quantisation.sensitivity import (
    Choice,
    Sensitivity,
    choose_float_layers,
    measure_sensitivities,
)
from eyespot.exporter.quantisation.source import Source, open_source
from eyespot.v1.manifest import QUANTISED, Derivation

Progress = Callable[[str], None]

# Each layer is tried on so many pictures, and maps are compared on so many.
_PICTURES_OF_A_LAYER = 16
_PICTURES_OF_MAPS = 4
# A network that is right no oftener than this beyond chance does not know the pictures.
_MARGIN_OVER_CHANCE = 0.1


@dataclass(frozen=True)
class Quantised:
    """A quantised version, and how it came about.

    Attributes:
        derived: What was written.
        agreement: With its source, on pictures that told no range.
        sensitivities: Of each layer, in the order of the network.
    """

    derived: Derived
    agreement: Agreement
    sensitivities: tuple[Sensitivity, ...]


def quantize(
    repository: Path | str,
    name: str,
    *,
    calibration: Path | str,
    version: str | None = None,
    model_name: str | None = None,
    as_version: bool = False,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
    told_sensitivities: Callable[[Sequence[Sensitivity]], None] | None = None,
) -> Quantised:
    """Quantise a model to INT8, and write it beside its source with what it has lost.

    Args:
        repository: A folder of models.
        name: Of the model.
        calibration: A folder of pictures of what the network will see. Where its subfolders bear
            the names of the model's labels, accuracy is measured; else agreement with the source.
        version: The latest if not told.
        model_name: Of the new model; the old name and "_int8" if not told.
        as_version: Make it the next version of the same model instead.
        recipe: How it is done, and how much may be lost.
        progress: Told what is being done.
        told_sensitivities: Given what was found out about the layers before anything is refused.

    Raises:
        CalibrationError: The pictures are too few, or not what the network knows.
        NotWorthwhileError: It would be too inexact, or slower.
        ExportError: Nothing was written, and why.
    """
    recipe, tell = recipe or Recipe(), progress or (lambda _: None)
    source = open_source(Path(repository), name, version)
    axis = _check(source)
    target = derived_name(source, "_int8", name=model_name, as_version=as_version)
    tell("reading the pictures")
    pictures = read_calibration(source, Path(calibration), most=recipe.most_pictures)
    with tempfile.TemporaryDirectory(prefix="eyespot-") as folder:
        attempt = _Attempt(source, pictures, recipe, Path(folder), axis, tell)
        sensitivities, choice = attempt.choose_layers()
        if told_sensitivities:
            told_sensitivities(sensitivities)
        if not choice.is_enough and not recipe.even_if_worse:
            raise NotWorthwhileError(_too_far(choice, recipe, pictures, layers=len(sensitivities)))
        graph = attempt.quantise(choice.layers)
        tell("measuring speed")
        measured = measure(source, graph)
        slowness = _slowness(measured, recipe.scheme)
        # Twice, for other programs may have been in the way.
        must_be_quick = recipe.is_for_here and not recipe.even_if_worse
        if slowness and must_be_quick and _is_slower(source, graph):
            raise NotWorthwhileError(f"{slowness[0]}; --even-if-worse writes it all the same")
        tell("comparing maps")
        measured |= attempt.compare_maps(graph)
        derived = write_derived(
            source,
            graph,
            _step(source, pictures, recipe, choice, measured, layers=len(sensitivities)),
            name=target,
            pictures=pictures.held_out,
            notes=(*pictures.notes, *attempt.graph.notes, *slowness),
        )
    return Quantised(derived, choice.agreement, sensitivities)


class _Attempt:
    """The steps from a source to a quantised graph in a folder.

    Raises:
        CalibrationError: The source does not know the pictures.
        DerivationError: The graph cannot be quantised.
    """

    graph: PreparedGraph

    def __init__(
        self,
        source: Source,
        pictures: Calibration,
        recipe: Recipe,
        folder: Path,
        axis: int,
        tell: Progress,
    ) -> None:
        self._source, self._pictures, self._recipe = source, pictures, recipe
        self._axis, self._tell = axis, tell
        self._original = run_session(open_session(source.graph))
        tell("asking the source")
        self._judge = Judge(
            self._original, pictures.held_out, classes=pictures.classes, class_axis=axis
        )
        if not recipe.even_if_worse:
            _check_domain(source, self._judge)
        tell("preparing the graph")
        self.graph = prepare(source.graph, folder)
        self._quantiser = Quantiser(
            self.graph,
            folder,
            scheme=recipe.scheme,
            method=recipe.method,
            per_channel=recipe.per_channel,
        )
        if recipe.method == "static":
            tell(f"measuring ranges on {pictures.range_count} pictures")
            self._quantiser.calibrate(
                pictures.ranges,
                input_name=source.manifest.inputs[0].name,
                calibrator=recipe.calibrator,
            )

    def choose_layers(self) -> tuple[tuple[Sensitivity, ...], Choice]:
        """Try each layer alone, and leave out as few as will do."""
        some = self._pictures.first(_PICTURES_OF_A_LAYER)
        sensitivities = measure_sensitivities(
            self.graph.layers,
            Judge(self._original, some, class_axis=self._axis),
            lambda layer: _opened(self._quantiser.quantise(only=[layer])),
            progress=self._tell,
        )
        choice = choose_float_layers(
            sensitivities,
            lambda layers: self._judge.compare(_opened(self.quantise(layers))),
            self._recipe.is_enough,
            progress=self._tell,
        )
        marked = (
            dataclasses.replace(each, is_float=each.layer in choice.layers)
            for each in sensitivities
        )
        return tuple(marked), choice

    def quantise(self, float_layers: Sequence[str]) -> Path:
        """Write the graph with some layers left in floating point."""
        return self._quantiser.quantise(but=float_layers)

    def compare_maps(self, graph: Path) -> dict[str, Any]:
        """Compare where a classifier looks before and after."""
        if self._source.manifest.task != "classification":
            return {}
        some = self._pictures.first(_PICTURES_OF_MAPS)
        found = map_correlation(self._source, self._original, _opened(graph), some)
        return {
            "map_rank_correlation": round(found, 4),
            "map_method": METHOD,
            "map_pictures": sum(map(len, some)),
        }


def _step(
    source: Source,
    pictures: Calibration,
    recipe: Recipe,
    choice: Choice,
    measured: dict[str, Any],
    *,
    layers: int,
) -> Derivation:
    """Write down how a version was quantised, and what came of it."""
    agreement = choice.agreement
    return derivation(
        source,
        QUANTISED,
        top1_agreement=agreement.top1_agreement,
        pictures=agreement.pictures,
        settings={
            **recipe.settings(range_pictures=pictures.range_count),
            "layers": layers,
            "float_layers": list(choice.layers),
        },
        measured={
            "accuracy": agreement.accuracy,
            "source_accuracy": agreement.source_accuracy,
            "max_abs_diff": agreement.max_abs_diff,
            "relative_error": agreement.relative_error,
            **measured,
        },
    )


def _check(source: Source) -> int:
    """Check that a version can be quantised, and tell where its classes are."""
    manifest = source.manifest
    if manifest.derivations:
        already = " already" if manifest.is_quantised else ""
        raise DerivationError(
            f"{source} is {manifest.derivations[-1]}{already}: {source.root_to_give}"
        )
    axis = class_axis(manifest.task)
    if axis is None or manifest.preprocessing is None:
        raise DerivationError(
            f"{source} is a network of {manifest.task}"
            f"{'' if manifest.preprocessing else ' that takes arrays'}: what is lost is measured "
            "by top classes of pictures; classifiers and segmentation with preprocessing can be "
            "quantised"
        )
    return axis


def _check_domain(source: Source, judge: Judge) -> None:
    """Check that the network itself knows the pictures."""
    accuracy, labels = judge.source_accuracy, source.labels
    if accuracy is None or labels is None:
        return
    chance = 1 / len(labels)
    if accuracy < chance + _MARGIN_OVER_CHANCE * (1 - chance):
        raise CalibrationError(
            f"{source} itself names the class of {accuracy:.1%} of the pictures, hardly more than "
            f"chance ({chance:.1%}): are they of another domain, or is it not trained?"
        )


def _opened(path: Path) -> Run:
    return run_session(open_session(path))


def _too_far(choice: Choice, recipe: Recipe, pictures: Calibration, *, layers: int) -> str:
    """Tell what was lost beside what may be, what may help, and what the pictures may lack."""
    agreement = choice.agreement
    drop = agreement.accuracy_drop
    if drop is None:
        lost = (
            f"its top class agrees on {agreement.top1_agreement:.1%}, at least "
            f"{100 * recipe.min_agreement:g}% is asked for,"
        )
        advice = "More of them or another calibrator (entropy, percentile)"
    else:
        lost = (
            f"accuracy falls by {drop:.1f} points, at most {recipe.max_accuracy_drop:g} is allowed,"
        )
        advice = (
            "More of them, another calibrator (entropy, percentile) or a larger --max-accuracy-drop"
        )
    told = (
        f"too much is lost: {lost} on {agreement.pictures} held-out pictures, even with "
        f"{len(choice.layers)} of {layers} layers in floating point. Are the "
        f"{pictures.range_count} pictures that told the ranges what it was trained for? {advice} "
        "may help; --even-if-worse writes it all the same"
    )
    return "; ".join((told, *pictures.notes))


def _slowness(measured: dict[str, Any], scheme: Scheme) -> tuple[str, ...]:
    """Tell that every batch was slower than the source's; nothing if one was not."""
    if any(speed["times_as_fast"] >= 1 for speed in measured["speed"]):
        return ()
    speed = measured["speed"][0]
    return (
        f"it is slower than FP32 here: {speed['ms']:.3g} ms for {speed['source_ms']:.3g} ms; the "
        f"network may be too small to gain ({scheme}: {scheme.reason})",
    )


def _is_slower(source: Source, graph: Path) -> bool:
    return all(speed["times_as_fast"] < 1 for speed in measure(source, graph)["speed"])
