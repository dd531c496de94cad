"""`eyespot explain`: pictures to a server, drawings of what decided back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from eyespot.cli.connection import add_server_arguments, connected
from eyespot.cli.drawings import DrawingFolder, add_drawings_argument
from eyespot.cli.errors import FAILURE, OK
from eyespot.cli.output import add_json_argument, print_json
from eyespot.cli.picture_files import add_picture_arguments, ask_about, model_to_ask
from eyespot.cli.progress import tell_line
from eyespot.client import Explanation
from eyespot.client.requests import CHANNEL_REDUCTIONS, SCORES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_picture_arguments(parser)
    add_drawings_argument(parser)
    parser.add_argument("--method", default="saliency", help="(default saliency)")
    parser.add_argument(
        "--target",
        type=_target,
        metavar="INDEX|LABEL",
        help="class to explain; digits are an index (default: each picture's top class)",
    )
    parser.add_argument(
        "--score", choices=SCORES, default="logit", help="what is differentiated (default logit)"
    )
    parser.add_argument(
        "--channel-reduction",
        choices=CHANNEL_REDUCTIONS,
        default="max",
        help="largest magnitude, signed mean, or none (default max)",
    )
    add_server_arguments(parser)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Draw each picture; one that cannot be read makes the exit code 1."""
    answered: list[dict[str, object]] = []
    folder = DrawingFolder(options.output)
    with connected(options) as client:
        model_name = model_to_ask(client, options)

        def ask(paths: Sequence[str]) -> list[Explanation]:
            return client.explain(
                model_name,
                paths,
                method=options.method,
                target=options.target,
                score=options.score,
                channel_reduction=options.channel_reduction,
                model_version=options.model_version,
            )

        for path, explanation in ask_about(options.images, ask):
            drawing = folder.file_for(path, explanation.method)
            explanation.save(drawing)
            answered.append(_report(path, explanation, drawing))
            if not options.json:
                label = explanation.label or f"class {explanation.target}"
                print(f"{path}: {label}, {options.score} {explanation.score:.4g} -> {drawing}")
            if not explanation.attributions.any():
                remedy = "" if options.score == "logit" else "; try --score logit"
                tell_line(
                    f"{path}: no gradient at all: the score does not react to any pixel{remedy}"
                )
    if options.json:
        print_json({"model_name": model_name, "method": options.method, "images": answered})
    return OK if len(answered) == len(options.images) else FAILURE


def _report(path: str, explanation: Explanation, drawing: Path) -> dict[str, object]:
    return {
        "image": path,
        "drawing": drawing,
        "target": explanation.target,
        "label": explanation.label,
        "score": explanation.score,
        "score_name": explanation.score_name,
        "reports": explanation.reports,
    }


def _target(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
