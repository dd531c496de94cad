"""`eyespot explain`: pictures to a server, drawings of what decided back."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eyespot.cli.argument_types import at_least_one, none_or_more, parameter
from eyespot.cli.connection import add_server_arguments, connected
from eyespot.cli.drawings import DrawingFolder, add_drawings_argument
from eyespot.cli.errors import FAILURE, OK, UsageError, telling
from eyespot.cli.output import add_json_argument, counted, print_json
from eyespot.cli.picture_files import add_picture_arguments, ask_about, model_to_ask
from eyespot.cli.progress import Share, showing_progress, tell_line
from eyespot.cli.region import mask_of, region
from eyespot.client import Client, ExplainTarget, Explanation, PictureError
from eyespot.client.normalisation import CLIP_PERCENTILE, SIGNS, Normalisation
from eyespot.client.pictures import load_picture
from eyespot.client.requests import CHANNEL_REDUCTIONS, ENCODINGS, SCORES, Target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_picture_arguments(parser)
    add_drawings_argument(parser)
    parser.add_argument(
        "--method",
        default="saliency",
        help="a name that `eyespot methods` lists (default saliency)",
    )
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument(
        "--target",
        type=_target,
        metavar="INDEX|LABEL",
        help="class to explain; digits are an index (default: each picture's top class)",
    )
    asked.add_argument(
        "--like",
        metavar="PICTURE",
        help="of a model that embeds: explain the likeness to this picture",
    )
    parser.add_argument(
        "--against",
        type=_target,
        metavar="INDEX|LABEL",
        help="class whose score is subtracted: why the target rather than this one?",
    )
    parser.add_argument(
        "--step",
        type=none_or_more,
        metavar="N",
        help="of a model that answers a sequence: the step to explain (default: all of them)",
    )
    parser.add_argument(
        "--region",
        type=region,
        metavar="LEFT,UPPER,RIGHT,LOWER|MASK",
        help="of a model that segments: where the class is meant, in pixels of the picture, or a "
        "picture of its size that is white there (default: where the class is predicted)",
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
        type=parameter,
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
        help="largest magnitude, signed mean, or none (default max; none for --sign signed)",
    )
    parser.add_argument(
        "--encoding",
        choices=ENCODINGS,
        default="raw",
        help="how maps travel: as they are, or in a tenth of the bytes as 8-bit PNG (default raw)",
    )
    _add_drawing_arguments(parser)
    parser.add_argument(
        "--progress",
        action="store_true",
        help="tell how far long methods have come, as is always done on a terminal",
    )
    add_server_arguments(parser)
    add_json_argument(parser)


def _add_drawing_arguments(parser: argparse.ArgumentParser) -> None:
    """Let the user choose how the numbers are shown; they stay what they are."""
    parser.add_argument(
        "--clip",
        type=float,
        default=CLIP_PERCENTILE,
        metavar="PERCENT",
        help=f"percentile at which the colours end (default {CLIP_PERCENTILE:g}; 100: the largest)",
    )
    parser.add_argument(
        "--sign",
        choices=SIGNS,
        help="colours for both signs, or for magnitudes (default: signed where the numbers are)",
    )
    parser.add_argument(
        "--smooth",
        type=float,
        default=0.0,
        metavar="PIXELS",
        help="smooth the map by a bell curve of this deviation (default 0: not at all)",
    )


def run(options: argparse.Namespace) -> int:
    """Draw each picture; one that cannot be read makes the exit code 1."""
    _check(options)
    answered: list[dict[str, object]] = []
    count = 0
    folder = DrawingFolder(options.output)
    with connected(options) as client:
        model_name = model_to_ask(client, options, for_explaining=True)

        def ask(paths: Sequence[str]) -> list[list[Explanation]]:
            found = _explain(client, model_name, paths, options)
            size = options.top_k
            return [found[start : start + size] for start in range(0, len(found), size)]

        for path, explanations in ask_about(options.images, ask):
            count += 1
            for explanation in explanations:
                answered.append(_draw(path, explanation, folder, options))
    if answered and answered[-1]["explained_original"]:
        tell_line(f"explained is {answered[-1]['explained_original']}")
    if options.json:
        print_json({"model_name": model_name, "method": options.method, "images": answered})
    return OK if count == len(options.images) else FAILURE


def _check(options: argparse.Namespace) -> None:
    """See before anything is asked that it can be drawn, and that there is what is compared."""
    try:
        Normalisation(options.clip, options.sign, options.smooth)
    except PictureError as error:
        raise UsageError(str(error)) from error
    if options.like is not None:
        if options.top_k > 1 or any(
            given is not None for given in (options.against, options.step, options.region)
        ):
            raise UsageError(
                "--like is explained in place of a class: no --against, --step, --region or --top-k"
            )
        with telling(PictureError):
            load_picture(options.like)


def _explain(
    client: Client, model_name: str, paths: Sequence[str], options: argparse.Namespace
) -> list[Explanation]:
    """Ask for the explanations, and tell meanwhile how far they have come."""
    reduction = options.channel_reduction or ("none" if options.sign == "signed" else "max")
    arguments: dict[str, Any] = {
        "method": options.method,
        "target": _asked(client, model_name, paths, options),
        "like": options.like,
        "top_k": options.top_k,
        "parameters": dict(options.parameters),
        "score": options.score,
        "channel_reduction": reduction,
        "encoding": options.encoding,
        "model_version": options.model_version,
    }
    if not options.progress and not sys.stderr.isatty():
        return client.explain(model_name, paths, **arguments)
    found: list[Explanation] = []
    with showing_progress() as tell:
        share = Share(tell, f"{options.method} of {counted(len(paths), 'picture')}")
        for known in client.explain_stream(model_name, paths, **arguments):
            share.reach(known.progress)
            found = list(known.explanations)
    return found


def _draw(
    path: str, explanation: Explanation, folder: DrawingFolder, options: argparse.Namespace
) -> dict[str, object]:
    """Draw one explanation, tell where, and give what is reported of it."""
    drawing = folder.file_for(path, explanation.method)
    explanation.save(drawing, clip=options.clip, sign=options.sign, smooth=options.smooth)
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
        "backend": explanation.backend,
        "explained_original": explanation.original,
    }


def _asked(
    client: Client, model_name: str, paths: Sequence[str], options: argparse.Namespace
) -> Target | list[Target] | None:
    """What is explained: the same of all pictures, or of each its own region."""
    if options.against is None and options.step is None and options.region is None:
        target: Target | None = options.target
        return target
    asked = ExplainTarget(target=options.target, against=options.against, step=options.step)
    if options.region is None:
        return asked
    masks = [mask_of(path, options.region) for path in paths]
    seen = client.segment(model_name, paths, model_version=options.model_version)
    return [
        dataclasses.replace(asked, region=each.region_of(mask))
        for each, mask in zip(seen, masks, strict=True)
    ]


def _target(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
