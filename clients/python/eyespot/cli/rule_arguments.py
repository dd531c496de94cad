"""How a command line tells what a picture goes through before the graph sees it."""

from __future__ import annotations

import argparse
from typing import Any

from eyespot.v1.preprocessing import INTERPOLATIONS

KNOWN_RULES = ("imagenet", "none")
RULE_OPTIONS = ("mean", "std", "resize", "crop", "interpolation")
_FIELDS = {"resize": "resize_size", "crop": "crop_size"}


def add_rule_arguments(parser: argparse.ArgumentParser, description: str, *, known: str) -> None:
    """Let the user tell a rule, or single values of it.

    Args:
        parser: Of the command.
        description: Which rule it is where none is told.
        known: What `--preprocessing` takes.
    """
    group = parser.add_argument_group("preprocessing", description)
    group.add_argument("--preprocessing", metavar=known, help="a known rule, or a JSON file")
    group.add_argument("--mean", type=_numbers, metavar="R,G,B", help="of pixels in [0, 1]")
    group.add_argument("--std", type=_numbers, metavar="R,G,B", help="of pixels in [0, 1]")
    group.add_argument(
        "--resize", type=_resize, metavar="SIZE|HxW", help="shorter side, or both sides"
    )
    group.add_argument("--crop", type=_crop, metavar="SIZE|HxW", help="cut from the centre")
    group.add_argument(
        "--interpolation",
        choices=INTERPOLATIONS,
        metavar="FILTER",
        help=f"of the resizing: {', '.join(INTERPOLATIONS)}",
    )


def rule_changes(options: argparse.Namespace) -> dict[str, Any]:
    """Give the values that are told, by the names of the rule's fields."""
    given = {_FIELDS.get(name, name): getattr(options, name) for name in RULE_OPTIONS}
    return {name: value for name, value in given.items() if value is not None}


def given_values(options: argparse.Namespace) -> str:
    """Name the options of single values that are told."""
    return ", ".join(f"--{name}" for name in RULE_OPTIONS if getattr(options, name) is not None)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be numbers with commas between them, such as 0.5,0.5,0.5, found {text!r}"
        ) from None


def _resize(text: str) -> int | tuple[int, int]:
    return _pair(text) if "x" in text else _side(text)


def _crop(text: str) -> tuple[int, int]:
    return _pair(text) if "x" in text else (_side(text), _side(text))


def _pair(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return _side(height), _side(width)


def _side(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"must be a number of pixels such as 224, or HEIGHTxWIDTH, found {text!r}"
        )
    return int(text)
