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
from eyespot.exporter.quantisation.calibration import MAX_PICTURES, Calibration, read_calibration
from eyespot.exporter.quantisation.conversion import measure
from eyespot.exporter.quantisation.derive import Derived, Place, derivation, write_derived
from eyespot.exporter.quantisation.graph import prepare
from eyespot.exporter.quantisation.maps import METHOD, map_correlation
from eyespot.exporter.quantisation.processor import (
    Processor,
    Scheme,
    scheme_for,
    this_processor,
)
from eyespot.exporter.quantisation.quantiser import Calibrator, Method, Quantiser
from eyespot.exporter.quantisation.sensitivity import (
    Choice,
    Sensitivity,
    choose_float_layers,
    measure_sensitivities,
)
from eyespot.exporter.quantisation.source import Source, open_source
from eyespot.v1.manifest import QUANTISED

Progress = Callable[[str], None]

MAX_ACCURACY_DROP = 1.0
MIN_AGREEMENT = 0.98

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
    method: Method = "static",
    calibrator: Calibrator = "minmax",
    per_channel: bool = True,
    processor: Processor | None = None,
    max_accuracy_drop: float = MAX_ACCURACY_DROP,
    min_agreement: float = MIN_AGREEMENT,
    most_pictures: int = MAX_PICTURES,
    force: bool = False,
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
        method: "static" ranges of the activations, from the pictures; or "dynamic", from each
            input.
        calibrator: How static ranges are told from values.
        per_channel: Each output channel of a weight has a scale of its own.
        processor: That it is for; this machine's if not told.
        max_accuracy_drop: In points, where the classes are known.
        min_agreement: Fraction of pictures with the same top class, where they are not.
        most_pictures: To read of the folder.
        force: Write it though it is less exact than that, or slower than its source here.
        progress: Told what is being done.
        told_sensitivities: Given what was found out about the layers before anything is refused.

    Raises:
        CalibrationError: The pictures are too few, or not what the network knows.
        NotWorthwhileError: It would be too inexact, or slower.
        ExportError: Nothing was written, and why.
    """
    tell = progress or (lambda _: None)
    source = open_source(Path(repository), name, version)
    axis = _check(source)
    here = this_processor()
    target = processor or here
    scheme = scheme_for(target)
    tell("reading the pictures")
    pictures = read_calibration(source, Path(calibration), most=most_pictures)
    original = run_session(open_session(source.graph))
    tell("asking the source")
    judge = Judge(original, pictures.held_out, classes=pictures.classes, class_axis=axis)
    if not force:
        _check_domain(source, judge)

    def is_enough(agreement: Agreement) -> bool:
        if agreement.accuracy_drop is None:
            return agreement.top1_agreement >= min_agreement
        return agreement.accuracy_drop <= max_accuracy_drop

    with tempfile.TemporaryDirectory(prefix="eyespot-") as folder:
        tell("preparing the graph")
        graph = prepare(source.graph, Path(folder))
        quantiser = Quantiser(
            graph, Path(folder), scheme=scheme, method=method, per_channel=per_channel
        )
        if method == "static":
            tell(f"measuring ranges on {pictures.range_count} pictures")
            input_name = source.manifest.inputs[0].name
            quantiser.calibrate(pictures.ranges, input_name=input_name, calibrator=calibrator)
        some = pictures.first(_PICTURES_OF_A_LAYER)
        sensitivities = measure_sensitivities(
            graph.layers,
            Judge(original, some, class_axis=axis),
            lambda layer: _opened(quantiser.quantise(only=[layer])),
            progress=tell,
        )
        choice = choose_float_layers(
            sensitivities,
            lambda layers: judge.compare(_opened(quantiser.quantise(but=layers))),
            is_enough,
            progress=tell,
        )
        sensitivities = tuple(
            dataclasses.replace(each, is_float=each.layer in choice.layers)
            for each in sensitivities
        )
        if told_sensitivities:
            told_sensitivities(sensitivities)
        if not choice.is_enough and not force:
            raise NotWorthwhileError(_too_far(choice, len(graph.layers), pictures))
        path = quantiser.quantise(but=choice.layers)
        tell("measuring speed")
        measured = measure(source, path)
        notes = (*pictures.notes, *graph.notes, *_slowness(measured, scheme))
        if _is_slower(measured) and target == here and not force:
            raise NotWorthwhileError(f"{notes[-1]}; --force writes it all the same")
        tell("comparing maps")
        derived = write_derived(
            source,
            path,
            derivation(
                source,
                QUANTISED,
                top1_agreement=choice.agreement.top1_agreement,
                pictures=choice.agreement.pictures,
                settings={
                    "method": method,
                    "numbers": str(scheme),
                    "processor": target,
                    "per_channel": per_channel and method == "static",
                    "calibrator": calibrator if method == "static" else None,
                    "calibration_pictures": pictures.range_count if method == "static" else 0,
                    "float_layers": list(choice.layers),
                    "layers": len(graph.layers),
                },
                measured={
                    **_losses(choice.agreement),
                    **measured,
                    **_maps(source, original, _opened(path), pictures),
                },
            ),
            place=Place("_int8", model_name, as_version),
            pictures=pictures.held_out,
            notes=notes,
        )
    return Quantised(derived, choice.agreement, sensitivities)


def _check(source: Source) -> int:
    """Check that a version can be quantised, and tell where its classes are."""
    manifest = source.manifest
    if manifest.is_quantised:
        raise DerivationError(f"{source} is {manifest.derivations[-1]} already")
    if manifest.derivations:
        raise DerivationError(
            f"{source} is {manifest.derivations[-1]}: quantise what it was made from"
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


def _too_far(choice: Choice, layers: int, pictures: Calibration) -> str:
    agreement = choice.agreement
    drop = agreement.accuracy_drop
    lost = (
        f"its top class agrees on {agreement.top1_agreement:.1%}"
        if drop is None
        else f"accuracy falls by {drop:.1f} points"
    )
    return (
        f"too much is lost: {lost} of {agreement.pictures} held-out pictures, even with "
        f"{len(choice.layers)} of {layers} layers in floating point. Are the "
        f"{pictures.range_count} pictures that told the ranges what it was trained for? More of "
        "them, another "
        "calibrator (entropy, percentile) or a larger budget may help"
    )


def _is_slower(measured: dict[str, Any]) -> bool:
    return all(speed["times_as_fast"] < 1 for speed in measured["speed"])


def _slowness(measured: dict[str, Any], scheme: Scheme) -> tuple[str, ...]:
    if not _is_slower(measured):
        return ()
    speed = measured["speed"][0]
    return (
        f"it is slower than FP32 here: {speed['ms']:.3g} ms for {speed['source_ms']:.3g} ms; the "
        f"network may be too small to gain ({scheme}: {scheme.reason})",
    )


def _losses(agreement: Agreement) -> dict[str, Any]:
    return {
        "accuracy": agreement.accuracy,
        "source_accuracy": agreement.source_accuracy,
        "max_abs_diff": agreement.max_abs_diff,
        "relative_error": agreement.relative_error,
    }


def _maps(source: Source, original: Run, derived: Run, pictures: Calibration) -> dict[str, Any]:
    """Compare maps of a classifier."""
    if source.manifest.task != "classification":
        return {}
    some = pictures.first(_PICTURES_OF_MAPS)
    return {
        "map_rank_correlation": round(map_correlation(source, original, derived, some), 4),
        "map_method": METHOD,
        "map_pictures": sum(map(len, some)),
    }
