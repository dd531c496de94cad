"""The pictures that a command line names, and the model that is asked about them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from eyespot.cli.argument_types import model_version
from eyespot.cli.errors import UNREACHABLE, CommandError, tell_error
from eyespot.cli.progress import Counter, tell_line
from eyespot.client import (
    Client,
    ModelStatus,
    NotFoundError,
    PictureError,
    UnimplementedError,
)

Answer = TypeVar("Answer")

_PICTURES_AT_ONCE = 32


class AskedModel(NamedTuple):
    """The model that is asked, and the version; that is empty for the newest at each call."""

    name: str
    version: str


def add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    """Let the user name pictures and a model."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="picture files")
    add_model_arguments(parser)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Let the user name a model."""
    parser.add_argument("--model", metavar="NAME", help="(default: the server's only one)")
    parser.add_argument(
        "--model-version",
        metavar="N",
        type=model_version,
        default="",
        help="(default: the latest)",
    )


def model_to_ask(
    client: Client, options: argparse.Namespace, *, for_explaining: bool = False
) -> AskedModel:
    """The model that was named, or the only one there is; a model that is loading is awaited.

    More pictures than are asked about in one call are all asked of the version that is the newest
    now: a call alone sees to it that its answers are of one version.

    Args:
        client: Of the server.
        options: Of the command line.
        for_explaining: What explains it is awaited as well: a model is served before that.

    Raises:
        CommandError: None was named, and none or several are there; a path was named; or it
            loads too long.
    """
    named, version = options.model, options.model_version
    try:
        models = client.repository_index()
    except UnimplementedError:
        if named is None:
            raise
        # A server without an index tells in its answer what is the matter.
        return AskedModel(named, version)
    name = _named_model(client, named, models) if named else _only_model(models)
    models = [each for each in models if each.name == name and version in ("", each.version)]
    if what := _loading(models, name, for_explaining):
        tell_line(f"waiting for {what}, which is being loaded")
        models = client.wait_while_loading(
            name, model_version=version, for_explaining=for_explaining
        )
        if what := _loading(models, name, for_explaining):
            raise CommandError(
                f"{what} is still being loaded after {options.timeout:g} s; "
                "--timeout gives it longer",
                exit_code=UNREACHABLE,
            )
    if len(getattr(options, "images", ())) > _PICTURES_AT_ONCE:
        ready = [each.version for each in models if each.is_ready and each.version.isdecimal()]
        version = version or max(ready, key=int, default="")
    return AskedModel(name, version)


def _named_model(client: Client, named: str, models: Sequence[ModelStatus]) -> str:
    """What a name means that the repository may not have: the files that a model takes, or a path.

    A server that does not know it tells so in its answer.
    """
    names = sorted({model.name for model in models})
    if named in names:
        return named
    for name in {model.name for model in models if model.is_ready}:
        if named.startswith(name) and _image_endpoint(client, name) == named:
            tell_line(f"{named} takes encoded pictures; asking {name}, which is sent them as well")
            return name
    if "/" in named or Path(named).exists():
        there = ", ".join(names) if names else "see `eyespot status`"
        raise CommandError(
            f"{named!r} is a path, where the name of a model that the server has is expected: "
            f"{there}"
        )
    return named


def _image_endpoint(client: Client, name: str) -> str:
    try:
        return client.model_config(name).image_endpoint
    except UnimplementedError:  # a server that does not tell
        return ""


def _only_model(models: Sequence[ModelStatus]) -> str:
    names = sorted({model.name for model in models if model.is_ready or model.is_loading})
    if len(names) == 1:
        return names[0]
    there = f"name one of {', '.join(names)} by --model" if names else "none is ready"
    see = "" if names else "; see `eyespot status`"
    raise CommandError(f"which model? {there}{see}")


def _loading(models: Sequence[ModelStatus], name: str, for_explaining: bool) -> str:
    """What of a model has to be waited for; empty for nothing."""
    if any(model.is_loading for model in models):
        return f"model {name}"
    is_awaited = any(model.is_awaited(for_explaining=for_explaining) for model in models)
    return f"what explains model {name}" if is_awaited else ""


def ask_about(
    paths: Sequence[str],
    ask: Callable[[Sequence[str]], Sequence[Answer]],
) -> Iterator[tuple[str, Answer]]:
    """Ask about many pictures at once; one that is broken is told and spoils no other.

    Raises:
        CommandError: The model was replaced in the middle of it.
    """
    counter = Counter(tell_line, len(paths), "pictures")
    for start in range(0, len(paths), _PICTURES_AT_ONCE):
        some = paths[start : start + _PICTURES_AT_ONCE]
        try:
            answers = ask(some)
        except PictureError:
            yield from _ask_one_by_one(some, ask)
        except NotFoundError as error:
            if start == 0:
                raise
            raise CommandError(
                f"the version that answered about the first {start} pictures is gone; run the "
                f"command again ({error.details})"
            ) from error
        else:
            yield from zip(some, answers, strict=True)
        counter.add(len(some))


def _ask_one_by_one(
    paths: Sequence[str],
    ask: Callable[[Sequence[str]], Sequence[Answer]],
) -> Iterator[tuple[str, Answer]]:
    for path in paths:
        try:
            [answer] = ask([path])
        except PictureError as error:
            tell_error(str(error))
        else:
            yield path, answer
