"""`eyespot infer`: pictures to a server, their likeliest classes back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from eyespot.cli.argument_types import at_least_one
from eyespot.cli.connection import add_server_arguments, connected
from eyespot.cli.errors import FAILURE, OK
from eyespot.cli.output import add_json_argument, class_text, print_json
from eyespot.cli.picture_files import add_picture_arguments, ask_about, model_to_ask
from eyespot.client import Classification


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_picture_arguments(parser)
    parser.add_argument(
        "--top-k",
        type=at_least_one,
        default=5,
        metavar="N",
        help="classes for each picture (default 5)",
    )
    add_server_arguments(parser)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Classify each picture; one that cannot be read makes the exit code 1."""
    answered: list[dict[str, object]] = []
    with connected(options) as client:
        model = model_to_ask(client, options)

        def ask(paths: Sequence[str]) -> list[list[Classification]]:
            return client.classify(
                model.name, paths, top_k=options.top_k, model_version=model.version
            )

        for path, classes in ask_about(options.images, ask):
            answered.append({"image": path, "classes": classes})
            if not options.json:
                _print(path, classes)
    if options.json:
        print_json({"model_name": model.name, "images": answered})
    return OK if len(answered) == len(options.images) else FAILURE


def _print(path: str, classes: Sequence[Classification]) -> None:
    print(path)
    for each in classes:
        print(f"  {each.probability:7.2%}  {class_text(each.index, each.label)}")
