"""`eyespot segment`: pictures to a server, drawings of what is where back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from eyespot.cli.connection import add_server_arguments, connected
from eyespot.cli.errors import FAILURE, OK, UsageError
from eyespot.cli.output import add_json_argument, class_text, print_json
from eyespot.cli.output_folder import OutputFolder, add_drawings_argument
from eyespot.cli.picture_files import add_picture_arguments, ask_about, model_to_ask
from eyespot.client import ClassShare, Segmentation

_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_picture_arguments(parser)
    add_drawings_argument(parser)
    add_server_arguments(parser)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Draw each picture; one that cannot be read makes the exit code 1."""
    if options.output is None and not options.json:
        raise UsageError("give a folder for the drawings (--output), or --json")
    answered: list[dict[str, object]] = []
    folder = None if options.output is None else OutputFolder(options.output)
    with connected(options) as client:
        model = model_to_ask(client, options)

        def ask(paths: Sequence[str]) -> list[Segmentation]:
            return client.segment(model.name, paths, model_version=model.version)

        for path, segmentation in ask_about(options.images, ask):
            drawing = None if folder is None else folder.file_for(path, "segmentation", ".png")
            if drawing is not None:
                segmentation.save(drawing)
            shares = segmentation.shares
            answered.append({"image": path, "drawing": drawing, "classes": shares})
            if not options.json:
                print(f"{path} -> {drawing}")
                _print(shares)
    if options.json:
        print_json({"model_name": model.name, "images": answered})
    return OK if len(answered) == len(options.images) else FAILURE


def _print(shares: Sequence[ClassShare]) -> None:
    for each in shares[:_SHOWN]:
        print(f"  {each.share:7.2%}  {class_text(each.index, each.label)}")
