"""`eyespot methods`: which saliency methods work for a model, what they cost and take."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Sequence

from eyespot.cli.connection import add_server_arguments, connected
from eyespot.cli.output import add_json_argument, print_json, print_table
from eyespot.cli.picture_files import add_model_arguments, model_to_ask
from eyespot.client.values import MethodDescription, ParameterDescription

_WIDTH = 96


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model_arguments(parser)
    add_server_arguments(parser)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """List the methods: first those that work, then why the others do not."""
    with connected(options) as client:
        model_name = model_to_ask(client, options, for_explaining=True)
        methods = client.list_methods(model_name, model_version=options.model_version)
    if options.json:
        print_json({"model_name": model_name, "methods": methods})
    else:
        _print(methods)
    return 0


def _print(methods: Sequence[MethodDescription]) -> None:
    available = [method for method in methods if method.is_available]
    if available:
        print_table(
            ("METHOD", "FORWARD PASSES", "PAPER"),
            [(method.name, _cost(method), method.paper) for method in available],
        )
    for method in available:
        for line in _parameters(method):
            print(line)
    for method in methods:
        if not method.is_available:
            print(f"{method.name} does not work here: {method.reason}")


def _cost(method: MethodDescription) -> str:
    """Write what a picture costs, and what that grows with."""
    if not method.forward_passes:
        return "not known"
    scaling = f", with {method.scales_with}" if method.scales_with else ""
    return f"{method.forward_passes:g}{scaling}"


def _parameters(method: MethodDescription) -> Iterator[str]:
    for parameter in method.parameters:
        said = f"--parameter {parameter.name}={_default(parameter)}: {_about(parameter)}"
        yield from textwrap.wrap(
            f"{method.name} {said}", _WIDTH, initial_indent="  ", subsequent_indent="      "
        )


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
