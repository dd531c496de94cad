"""`eyespot explain`: pictures to a server, drawings of what decided back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from eyespot.cli.argument_types import at_least_one
from eyespot.cli.connection import add_server_arguments, connected
from eyespot.cli.drawings import DrawingFolder, add_drawings_argument
from eyespot.cli.errors import FAILURE, OK
from eyespot.cli.output import add_json_argument, print_json
from eyespot.cli.picture_files import add_picture_arguments, ask_about, model_to_ask
from eyespot.cli.progress import tell_line
from eyespot.client import ExplainTarget, Explanation
from eyespot.client.requests import CHANNEL_REDUCTIONS, SCORES, Target
from eyespot.client.values import Parameter


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
        "--against",
        type=_target,
        metavar="INDEX|LABEL",
        help="class whose score is subtracted: why the target rather than this one?",
    )
    parser.add_argument(
        "--top-k",
        type=at_least_one,
        default=1,
        metavar="K",
        help="explain each picture's K top classes (default 1)",
    )
    parser.add_argument(
        "--parameter",
        action="append",
        default=[],
        type=_parameter,
        metavar="NAME=VALUE",
        dest="parameters",
        help="parameter of the method, such as n_steps=100 or layer=relu_16; may be repeated",
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
    count = 0
    folder = DrawingFolder(options.output)
    with connected(options) as client:
        model_name = model_to_ask(client, options)

        def ask(paths: Sequence[str]) -> list[list[Explanation]]:
            found = client.explain(
                model_name,
                paths,
                method=options.method,
                target=_asked(options),
                top_k=options.top_k,
                parameters=dict(options.parameters),
                score=options.score,
                channel_reduction=options.channel_reduction,
                model_version=options.model_version,
            )
            size = options.top_k
            return [found[start : start + size] for start in range(0, len(found), size)]

        for path, explanations in ask_about(options.images, ask):
            count += 1
            for explanation in explanations:
                answered.append(_draw(path, explanation, folder, options))
    if options.json:
        print_json({"model_name": model_name, "method": options.method, "images": answered})
    return OK if count == len(options.images) else FAILURE


def _draw(
    path: str, explanation: Explanation, folder: DrawingFolder, options: argparse.Namespace
) -> dict[str, object]:
    """Draw one explanation, tell where, and give what is reported of it."""
    drawing = folder.file_for(path, explanation.method)
    explanation.save(drawing)
    if not options.json:
        said = f"{explanation.title}, {explanation.score_name} {explanation.score:.4g}"
        print(f"{path}: {said} -> {drawing}")
    if not explanation.attributions.any():
        remedy = "" if options.score == "logit" else "; try --score logit"
        tell_line(f"{path}: no gradient at all: the score does not react to any pixel{remedy}")
    return _report(path, explanation, drawing)


def _report(path: str, explanation: Explanation, drawing: Path) -> dict[str, object]:
    return {
        "image": path,
        "drawing": drawing,
        "target": explanation.target,
        "label": explanation.label,
        "score": explanation.score,
        "score_name": explanation.score_name,
        "against": explanation.against,
        "reports": explanation.reports,
    }


def _asked(options: argparse.Namespace) -> Target | None:
    if options.against is None:
        target: Target | None = options.target
        return target
    return ExplainTarget(target=options.target, against=options.against)


def _parameter(text: str) -> tuple[str, Parameter]:
    """Read NAME=VALUE; what looks like a number or like true or false is one."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE, such as n_steps=100")
    if value in ("true", "false"):
        return name, value == "true"
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def _target(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
