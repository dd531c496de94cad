"""`eyespot explain`: pictures to a server, drawings of what decided back."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from eyespot.cli.argument_types import at_least_one, none_or_more, parameter
from eyespot.cli.connection import add_server_arguments, connected
from eyespot.cli.errors import FAILURE, OK, CommandError, UsageError, telling
from eyespot.cli.explanation_output import (
    ExplanationOutput,
    add_output_arguments,
    check_output,
)
from eyespot.cli.output import add_json_argument, counted, print_json
from eyespot.cli.picture_files import (
    AskedModel,
    add_picture_arguments,
    ask_about,
    model_to_ask,
)
from eyespot.cli.progress import Share, showing_progress, tell_line
from eyespot.cli.region import mask_of, region
from eyespot.client import (
    Classification,
    Client,
    ClientError,
    ExplainTarget,
    Explanation,
    InvalidArgumentError,
    PictureError,
)
from eyespot.client.pictures import load_picture
from eyespot.client.requests import CHANNEL_REDUCTIONS, ENCODINGS, SCORES, Target

_Answer: TypeAlias = tuple[list[Explanation], list[Classification]]  # about one picture

_CLASSES_TOLD = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_picture_arguments(parser)
    add_output_arguments(parser)
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
        help="parameter of the method, such as n_steps=100 or layer=layer4.1; may be repeated",
    )
    parser.add_argument(
        "--score",
        choices=SCORES,
        default="logit",
        metavar="SCORE",
        help=f"what is differentiated: {', '.join(SCORES)} (default logit)",
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
    parser.add_argument(
        "--progress",
        action="store_true",
        help="tell how far long methods have come, as is always done on a terminal",
    )
    add_server_arguments(parser)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Explain each picture; one that cannot be read makes the exit code 1."""
    _check(options)
    answered: list[dict[str, object]] = []
    count = 0
    output = ExplanationOutput(options)
    with connected(options) as client, _naming_options():
        model = model_to_ask(client, options, for_explaining=True)

        def ask(paths: Sequence[str]) -> list[_Answer]:
            found = _explain(client, model, paths, options)
            size = options.top_k
            starts = range(0, len(found), size)
            explanations = [found[start : start + size] for start in starts]
            return list(zip(explanations, _classes(client, model, paths, options), strict=True))

        for path, (explanations, classes) in ask_about(options.images, ask):
            count += 1
            for explanation in explanations:
                answered.append(output.take(path, explanation, classes))
    if answered and answered[-1]["explained_original"]:
        tell_line(f"explained is {answered[-1]['explained_original']}")
    if options.json:
        print_json({"model_name": model.name, "method": options.method, "images": answered})
    return OK if count == len(options.images) else FAILURE


@contextmanager
def _naming_options() -> Iterator[None]:
    """Name an option where the server's refusal names the field of the request."""
    try:
        yield
    except InvalidArgumentError as error:
        told = error.details.replace("targets_per_row", "--top-k")
        if told == error.details:
            raise
        raise CommandError(told) from error


def _check(options: argparse.Namespace) -> None:
    """See before anything is asked that there is what is compared, and something left of it."""
    check_output(options)
    is_named = any(given is not None for given in (options.against, options.step, options.region))
    if options.top_k > 1 and options.like is None and (is_named or options.target is not None):
        raise UsageError(
            "--top-k explains several top classes: no --target, --against, --step or --region"
        )
    if options.like is not None:
        if options.top_k > 1 or is_named:
            raise UsageError(
                "--like is explained in place of a class: no --against, --step, --region or --top-k"
            )
        with telling(PictureError):
            load_picture(options.like)


def _explain(
    client: Client, model: AskedModel, paths: Sequence[str], options: argparse.Namespace
) -> list[Explanation]:
    """Ask for the explanations, and tell meanwhile how far they have come."""
    reduction = options.channel_reduction or ("none" if options.sign == "signed" else "max")
    arguments: dict[str, Any] = {
        "method": options.method,
        "target": _asked(client, model, paths, options),
        "like": options.like,
        "top_k": options.top_k,
        "parameters": dict(options.parameters),
        "score": options.score,
        "channel_reduction": reduction,
        "encoding": options.encoding,
        "model_version": model.version,
    }
    if not options.progress and not sys.stderr.isatty():
        return client.explain(model.name, paths, **arguments)
    found: list[Explanation] = []
    with showing_progress() as tell:
        share = Share(tell, f"{options.method} of {counted(len(paths), 'picture')}")
        for known in client.explain_stream(model.name, paths, **arguments):
            share.reach(known.progress)
            found = list(known.explanations)
    return found


def _classes(
    client: Client, model: AskedModel, paths: Sequence[str], options: argparse.Namespace
) -> list[list[Classification]]:
    """What the model says of each picture, for machines; nothing where it names no classes."""
    if not options.json:
        return [[] for _ in paths]
    try:
        return client.classify(model.name, paths, top_k=_CLASSES_TOLD, model_version=model.version)
    except PictureError:
        raise
    except ClientError:  # it segments, embeds or answers a sequence
        return [[] for _ in paths]


def _asked(
    client: Client, model: AskedModel, paths: Sequence[str], options: argparse.Namespace
) -> Target | list[Target] | None:
    """What is explained: the same of all pictures, or of each its own region."""
    if options.against is None and options.step is None and options.region is None:
        target: Target | None = options.target
        return target
    asked = ExplainTarget(target=options.target, against=options.against, step=options.step)
    if options.region is None:
        return asked
    masks = [mask_of(path, options.region) for path in paths]
    seen = client.segment(model.name, paths, model_version=model.version)
    return [
        dataclasses.replace(asked, region=each.region_of(mask))
        for each, mask in zip(seen, masks, strict=True)
    ]


def _target(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
