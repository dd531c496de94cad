"""`eyespot explain`: pictures to a server, drawings of what decided back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from eyespot.cli.connection import add_server_arguments, connected
from eyespot.cli.errors import FAILURE, OK, CommandError
from eyespot.cli.output import add_json_argument, print_json
from eyespot.cli.picture_files import add_picture_arguments, ask_about, model_to_ask
from eyespot.cli.progress import tell_line
from eyespot.client import Explanation
from eyespot.client.requests import CHANNEL_REDUCTIONS, SCORES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_picture_arguments(parser)
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        type=Path,
        help="folder for the drawings; those that have the same name are replaced",
    )
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
    if options.output.exists() and not options.output.is_dir():
        raise CommandError(f"{options.output} is no folder: drawings cannot be written there")
    answered: list[dict[str, object]] = []
    names = _Names(options.output)
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
            drawing = names.unused(f"{Path(path).stem}-{explanation.method}")
            _make_folder(options.output)
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


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(f"{folder} cannot be made: {reason}") from error


class _Names:
    """Names of drawings, no two alike, though pictures of several folders may be."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used: dict[str, int] = {}

    def unused(self, stem: str) -> Path:
        number = self._used[stem] = self._used.get(stem, 0) + 1
        return self._folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")


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
