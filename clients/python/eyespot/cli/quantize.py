"""`eyespot quantize`: an INT8 version of a model, calibrated on pictures, with what it has lost."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.cli.argument_types import at_least_one, positive_number
from eyespot.cli.derived import add_derived_arguments, deriving, print_derived
from eyespot.cli.errors import CommandError, UsageError
from eyespot.cli.given_paths import check_picture_folder, check_place_of_picture
from eyespot.cli.output import add_json_argument, counted, print_json, print_table

if TYPE_CHECKING:
    from eyespot.exporter.quantisation import Quantised, Recipe, Sensitivity


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_derived_arguments(parser, suffix="_int8")
    parser.add_argument(
        "--calibration",
        required=True,
        metavar="DIR",
        type=Path,
        help="pictures of what the network will see; subfolders with the names of the labels tell "
        "the classes, and accuracy is measured",
    )
    parser.add_argument(
        "--method",
        choices=("static", "dynamic"),
        default="static",
        help="ranges of the activations from the pictures (default), or from each input",
    )
    parser.add_argument(
        "--format", choices=("qdq",), default="qdq", help="of the graph (default and only: qdq)"
    )
    parser.add_argument(
        "--per-channel",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a scale for each output channel of a weight (default), or one for all",
    )
    parser.add_argument(
        "--calibrate",
        choices=("minmax", "entropy", "percentile"),
        default="minmax",
        help="how a range is told from values (default minmax)",
    )
    parser.add_argument(
        "--processor",
        choices=("vnni", "avx2", "arm"),
        help="that the model is for (default this machine's): U8S8 with VNNI, with weights of 7 "
        "bits on other x86, S8S8 on ARM",
    )
    parser.add_argument(
        "--max-accuracy-drop",
        type=positive_number,
        default=1.0,
        metavar="POINTS",
        help="most that may be lost where the classes are known (default 1); where they are not, "
        "98 %% of the top classes must stay",
    )
    parser.add_argument(
        "--most-pictures",
        type=at_least_one,
        default=512,
        metavar="N",
        help="to read of the folder (default 512)",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="picture of what each layer costs (default MODEL-sensitivity.png)",
    )
    parser.add_argument(
        "--even-if-worse",
        action="store_true",
        help="write it though it is too inexact, or slower here",
    )
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Quantise the model."""
    if options.calibrate != "minmax" and options.method == "dynamic":
        raise UsageError("--calibrate is about static ranges: dynamic ones are told by each input")
    check_picture_folder(options.calibration)
    check_place_of_picture(options.plot)
    with deriving(options) as (model, arguments):
        from eyespot.exporter import NotWorthwhileError
        from eyespot.exporter.quantisation import draw_sensitivities, quantize

        _, name = model
        picture = options.plot or Path(f"{name}-sensitivity.png")

        def show(sensitivities: Sequence[Sensitivity]) -> None:
            draw_sensitivities(sensitivities, picture, title=f"{name}: what each layer costs")
            if not options.json:
                _print_sensitivities(sensitivities)
                print(f"drew {picture}")

        try:
            quantised = quantize(
                *model,
                calibration=options.calibration,
                recipe=_recipe(options),
                told_sensitivities=show,
                **arguments,
            )
        except NotWorthwhileError as error:
            raise CommandError(
                f"{error}; {picture} is kept: it shows what each layer costs"
            ) from error
    if options.json:
        print_json(quantised)
    else:
        _print(quantised)
    return 0


def _recipe(options: argparse.Namespace) -> Recipe:
    from eyespot.exporter.quantisation import Recipe

    return Recipe(
        method=options.method,
        calibrator=options.calibrate,
        per_channel=options.per_channel,
        processor=options.processor,
        max_accuracy_drop=options.max_accuracy_drop,
        most_pictures=options.most_pictures,
        even_if_worse=options.even_if_worse,
    )


def _print_sensitivities(sensitivities: Sequence[Sensitivity]) -> None:
    """Print the layers from the input on."""
    print("what comes of quantising each layer alone")
    print_table(
        ("LAYER", "OPERATOR", "PARAMETERS", "RELATIVE ERROR", "TOP-1 AGREEMENT", "NUMBERS"),
        [
            (
                each.title,
                each.operator,
                each.parameters,
                each.relative_error,
                f"{each.top1_agreement:.1%}",
                "float" if each.is_float else "int8",
            )
            for each in sensitivities
        ],
    )


def _print(quantised: Quantised) -> None:
    agreement = quantised.agreement
    step = quantised.derived.manifest.derivations[-1]
    facts: dict[str, object] = {
        "numbers": step.settings["numbers"],
        "layers": f"{step.settings['layers'] - len(step.settings['float_layers'])} of "
        f"{step.settings['layers']} quantised",
        "top-1 agreement": f"{agreement.top1_agreement:.2%} of "
        f"{counted(agreement.pictures, 'held-out picture')}",
    }
    if agreement.accuracy is not None and agreement.source_accuracy is not None:
        facts["accuracy"] = f"{agreement.accuracy:.2%}, before {agreement.source_accuracy:.2%}"
    facts["max abs diff"] = f"{agreement.max_abs_diff:.3g}, between its outputs and the source's"
    if "map_rank_correlation" in step.measured:
        facts["rank correlation"] = (
            f"{step.measured['map_rank_correlation']:.3f}, of {step.measured['map_method']} maps "
            f"of {counted(step.measured['map_pictures'], 'picture')}"
        )
    print()
    print_derived(quantised.derived, facts)
