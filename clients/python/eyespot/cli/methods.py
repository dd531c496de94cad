"""`eyespot methods`: which saliency methods work for a model, what they cost and take."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from eyespot.cli.connection import add_server_arguments, connected
from eyespot.cli.output import add_json_argument, print_json, print_table
from eyespot.cli.picture_files import add_model_arguments, model_to_ask
from eyespot.client.values import MethodDescription, ParameterDescription

_WIDTH = 96


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model_arguments(parser)
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", default=argparse.SUPPRESS, help="the same as --model"
    )
    add_server_arguments(parser)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """List the methods: first those that work, then why the others do not."""
    with connected(options) as client:
        model = model_to_ask(client, options, for_explaining=True)
        methods = client.list_methods(model.name, model_version=model.version)
    if options.json:
        print_json({"model_name": model.name, "methods": methods})
    else:
        print_methods(methods)
    return 0


def print_methods(methods: Sequence[MethodDescription]) -> None:
    """Print a table of those that work, what may be set, and why others do not work."""
    available = [method for method in methods if method.is_available]
    if available:
        print_table(
            ("METHOD", "FORWARD PASSES", "PAPER"),
            [(method.name, _cost(method), method.paper) for method in available],
        )
        for line in _parameters(available):
            print(line)
    for reason, names in _grouped((each.reason, each.name) for each in methods if each.reason):
        for line in _wrapped(f"{_who(names, methods)} here: {reason}", indent="", hang=2):
            print(line)


def _cost(method: MethodDescription) -> str:
    """Write what a picture costs, and what that grows with."""
    if not method.forward_passes:
        return "not known"
    scaling = f", with {method.scales_with}" if method.scales_with else ""
    return f"{method.forward_passes:g}{scaling}"


def _parameters(methods: Sequence[MethodDescription]) -> Iterator[str]:
    """Write what may be set, each once for all the methods that have it."""
    told = _grouped(
        (f"{each.name}={_default(each)}\n{_about(each)}", method.name)
        for method in methods
        for each in method.parameters
    )
    if told:
        yield "\nto be set by --parameter NAME=VALUE"
    for text, names in told:
        parameter, _, about = text.partition("\n")
        yield f"  {parameter}  of {_listed(names)}"
        yield from _wrapped(about, indent=" " * 6, hang=0)
    if told:
        yield ""


def _who(names: Sequence[str], methods: Sequence[MethodDescription]) -> str:
    if len(names) == len(methods) > 1:
        return "no method works"
    return f"{_listed(names)} {'does' if len(names) == 1 else 'do'} not work"


def _grouped(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Bring together the names of which the same is told."""
    found: dict[str, list[str]] = {}
    for told, name in pairs:
        found.setdefault(told, []).append(name)
    return list(found.items())


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _wrapped(text: str, *, indent: str, hang: int) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent + " " * hang,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _default(parameter: ParameterDescription) -> str:
    return parameter.type.upper() if parameter.default in (None, "") else str(parameter.default)


def _about(parameter: ParameterDescription) -> str:
    """Write what a parameter means, and what it may be."""
    bounds = [
        f"{word} {bound}"
        for word, bound in (("from", parameter.minimum), ("to", parameter.maximum))
        if bound is not None
    ]
    choices = [f"one of {', '.join(parameter.choices)}"] if parameter.choices else []
    allowed = ", ".join([parameter.type, *choices, " ".join(bounds)]).rstrip(", ")
    return f"{parameter.description} ({allowed})"
