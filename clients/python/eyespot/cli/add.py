"""`eyespot add`: an ONNX file made elsewhere, into the model repository."""

from __future__ import annotations

import argparse
from pathlib import Path

from eyespot.cli.argument_types import at_least_one, model_name
from eyespot.cli.errors import UsageError, telling
from eyespot.cli.given_paths import check_files, check_label_file
from eyespot.cli.inspect import rule_text
from eyespot.cli.output import add_json_argument, print_facts, print_json
from eyespot.cli.progress import showing_progress
from eyespot.cli.rule_arguments import (
    KNOWN_RULES,
    add_rule_arguments,
    given_values,
    rule_changes,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="MODEL.onnx", type=Path, help="ONNX file")
    parser.add_argument("--name", required=True, type=model_name, help="name to serve it under")
    parser.add_argument(
        "--output", required=True, metavar="REPOSITORY", type=Path, help="folder of models"
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="one label a line")
    parser.add_argument(
        "--max-batch-size", type=at_least_one, metavar="ROWS", help="most rows of a batch"
    )
    parser.add_argument(
        "--replace", action="store_true", help="put it in the place of the latest version"
    )
    add_rule_arguments(
        parser,
        "What a picture goes through: --preprocessing, or single values that change ImageNet's "
        "rule, let the graph take pictures. Without them it takes arrays as they are.",
        known="imagenet|FILE",
    )
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Add the file."""
    check_files(options.file)
    check_label_file(options.labels)
    changes = rule_changes(options)
    if options.preprocessing and changes:
        raise UsageError(
            f"--preprocessing tells the whole rule: it does not go with {given_values(options)}"
        )
    told = options.preprocessing or ("imagenet" if changes else None)
    rule = told if told in (None, *KNOWN_RULES) else Path(told)
    check_files(rule if isinstance(rule, Path) else None)
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.exporter import ExportError, add_model

        with telling(ExportError):
            result = add_model(
                options.file,
                repository=options.output,
                name=options.name,
                labels=options.labels,
                max_batch_size=options.max_batch_size,
                preprocessing=None if rule == "none" else rule,
                rule_changes=changes,
                replace=options.replace,
            )
    if options.json:
        print_json(result)
        return 0
    print(f"added {options.name} version {result.model_version} at {result.path}")
    if result.manifest.preprocessing is not None:
        print_facts({"preprocessing": rule_text(result.manifest.preprocessing)})
    for note in result.notes:
        print(note)
    return 0
