"""`eyespot export`: a network of the zoo into the model repository, with its proof."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyespot.cli.argument_types import at_least_one, model_name, seed
from eyespot.cli.errors import FAILURE, OK, UsageError, telling
from eyespot.cli.given_paths import (
    check_files,
    check_labels,
    check_picture_folder,
    check_weights,
)
from eyespot.cli.output import add_json_argument, counted, print_json, print_table
from eyespot.cli.parity_output import print_parity
from eyespot.cli.progress import showing_progress
from eyespot.cli.rule_arguments import (
    KNOWN_RULES,
    RULE_OPTIONS,
    add_rule_arguments,
    given_values,
    rule_changes,
)
from eyespot.cli.zoo_names import CLASSES, check_network
from eyespot.v1.preprocessing import PreprocessingError, PreprocessingRule

if TYPE_CHECKING:
    from eyespot.exporter import ExportResult, ZooRow

_OF_ONE_MODEL = (
    "weights",
    "transform_input",
    "name",
    "labels",
    "num_classes",
    "input_size",
    "channels",
    "parity_images",
    "gradient_layer",
    "preprocessing",
    *RULE_OPTIONS,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="network of the zoo (see `eyespot models`)"
    )
    parser.add_argument(
        "--all", action="store_true", help="every network of the zoo, with random weights"
    )
    parser.add_argument(
        "--output", required=True, metavar="REPOSITORY", type=Path, help="folder of models"
    )
    parser.add_argument(
        "--weights", metavar="FILE|NAME", help="state_dict, or published name (default random)"
    )
    parser.add_argument(
        "--transform-input",
        action=argparse.BooleanOptionalAction,
        help="GoogLeNet and Inception: re-normalise the input inside, as torchvision's weights "
        "expect (default as the weights were published)",
    )
    parser.add_argument("--name", type=model_name, help="name to serve it under (default MODEL)")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="one label a line")
    parser.add_argument("--num-classes", type=at_least_one, metavar="N", help="width of the output")
    parser.add_argument(
        "--input-size", type=at_least_one, metavar="PIXELS", help="height and width"
    )
    parser.add_argument("--channels", type=at_least_one, metavar="N", help="of the input: 1 or 3")
    parser.add_argument(
        "--opset", type=at_least_one, metavar="N", help="of the ONNX graph, 18 or later"
    )
    parser.add_argument(
        "--external-data",
        action="store_true",
        help="weights in a file of their own, model.onnx.data, as beyond 2 GiB anyway",
    )
    parser.add_argument(
        "--gradient-graph",
        action="store_true",
        help="write the gradient as ONNX graphs too, so that a server without PyTorch explains",
    )
    parser.add_argument(
        "--gradient-layer",
        action="append",
        metavar="NAME",
        help="the same, with a further layer for grad_cam and its kin beside the last spatial map; "
        "may be repeated (a NODE or LAYER of `eyespot inspect MODEL --layers`)",
    )
    parser.add_argument(
        "--max-batch-size", type=at_least_one, metavar="ROWS", help="most rows of a batch"
    )
    parser.add_argument(
        "--parity-images", type=Path, metavar="DIR", help="compare on these pictures too"
    )
    parser.add_argument(
        "--replace", action="store_true", help="put it in the place of the latest version"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="of random weights and inputs (default 0)"
    )
    add_rule_arguments(
        parser,
        "What a picture goes through; the rule of the weights or of the network unless told. "
        "The single values change that rule.",
        known="imagenet|none|FILE",
    )
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Export, and print the parity report."""
    if options.all == (options.model is not None):
        raise UsageError("name one MODEL of the zoo, or ask for --all of them")
    if options.all:
        return _export_all(options)
    if options.preprocessing and rule_changes(options):
        raise UsageError(
            f"--preprocessing tells the whole rule: it does not go with {given_values(options)}"
        )
    _check_given(options)
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.exporter import ExportError, export_zoo_parts
        from eyespot.zoo import ZooError

        with telling(ExportError, ZooError, PreprocessingError):
            results = export_zoo_parts(
                options.model,
                repository=options.output,
                weights=options.weights,
                transform_input=options.transform_input,
                model_name=options.name,
                labels=options.labels,
                num_classes=options.num_classes,
                input_size=options.input_size,
                in_channels=options.channels,
                preprocessing=_rule(options),
                parity_images=options.parity_images,
                gradient_layers=options.gradient_layer or (),
                progress=tell,
                **_shared(options),
            )
    if options.json:
        print_json(results[0] if len(results) == 1 else results)
    else:
        for result in results:
            _print(result)
    return OK


def _check_given(options: argparse.Namespace) -> None:
    check_network(options.model)
    check_weights(options.weights, network=options.model)
    check_labels(options.labels, classes=options.num_classes or CLASSES[options.model])
    rule = options.preprocessing
    check_files(Path(rule) if rule not in (None, *KNOWN_RULES) else None)
    check_picture_folder(options.parity_images)


def _export_all(options: argparse.Namespace) -> int:
    """Export every network, and print one table; any that failed makes the exit code 1."""
    given = [name for name in _OF_ONE_MODEL if getattr(options, name) is not None]
    if given:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"--all takes every network as its paper has it: {words} is for one MODEL")
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.exporter import export_zoo

        rows = []
        for row in export_zoo(repository=options.output, progress=tell, **_shared(options)):
            rows.append(row)
            if row.reason is not None:
                tell(f"{row.name} failed: {row.reason}")
    if options.json:
        print_json(rows)
    else:
        _print_rows(rows)
    return OK if all(row.reason is None for row in rows) else FAILURE


def _shared(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments that one network and all of them take alike."""
    return {
        "external_data": options.external_data,
        "gradient_graph": options.gradient_graph,
        "max_batch_size": options.max_batch_size,
        "replace": options.replace,
        "seed": options.seed,
        **({} if options.opset is None else {"opset_version": options.opset}),
    }


def _print_rows(rows: Sequence[ZooRow]) -> None:
    print_table(
        (
            "NAME",
            "PARAMETERS",
            "SECONDS",
            "SIZE",
            "MAX ABS DIFF",
            "MAX REL DIFF",
            "OPSET",
            "PEAK MEMORY",
        ),
        [
            (
                row.name,
                row.parameter_count,
                round(row.export_seconds, 1),
                _mebibytes(row.size_bytes),
                row.max_abs_diff,
                row.max_rel_diff,
                row.opset_version,
                _mebibytes(row.peak_bytes),
            )
            for row in rows
        ],
    )
    failed = [row for row in rows if row.reason is not None]
    for row in failed:
        print(f"FAILED  {row.name}: {row.reason}")
    print(f"{counted(len(rows), 'network')}, {len(failed)} failed")


def _mebibytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:,.1f} MiB"


def _print(result: ExportResult) -> None:
    manifest = result.manifest
    print(f"exported {manifest.model_name} version {result.model_version} to {result.path}")
    if manifest.provenance.weights == "random":
        print("its weights are random: --weights gives it trained ones")
    for note in result.notes:
        print(note)
    if manifest.parity is not None:
        print_parity(manifest.parity)


def _rule(options: argparse.Namespace) -> str | Path | PreprocessingRule | None:
    told: str | None = options.preprocessing
    if told is not None:
        return told if told in KNOWN_RULES else Path(told)
    changes = rule_changes(options)
    return _changed_rule(options, changes) if changes else None


def _changed_rule(options: argparse.Namespace, changes: dict[str, Any]) -> PreprocessingRule:
    """Change the rule that the network would get."""
    from eyespot.exporter.zoo_export import choose_rule_for, input_size_of
    from eyespot.zoo import model_entry

    entry = model_entry(options.model)
    rule = choose_rule_for(
        entry,
        input_size_of(entry, in_channels=options.channels, input_size=options.input_size),
        None,
        weights=options.weights,
    )
    if rule is None:
        raise UsageError(f"{entry.name} takes no picture: {given_values(options)} changes nothing")
    try:
        return dataclasses.replace(rule, **changes)
    except PreprocessingError as error:
        raise UsageError(str(error)) from error
