"""Arguments that are checked as they are read, before anything that takes long to load."""

from __future__ import annotations

import argparse
import math


def at_least_one(text: str) -> int:
    """Read a number of things."""
    return _whole_number(text, minimum=1)


def none_or_more(text: str) -> int:
    """Read a number of things that there may be none of."""
    return _whole_number(text, minimum=0)


def seed(text: str) -> int:
    """Read where chance begins."""
    return _whole_number(text, minimum=0)


def _whole_number(text: str, *, minimum: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, found {text!r}") from None
    if number < minimum:
        raise argparse.ArgumentTypeError(f"must be at least {minimum}, found {number}")
    return number


def positive_number(text: str) -> float:
    """Read how much of something there may be."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, found {text!r}") from None
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, found {text}")
    return number


def parameter(text: str) -> tuple[str, bool | int | float | str]:
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


def model_version(text: str) -> str:
    """Read a version of a model; empty is the latest."""
    if text and not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"a version is a number such as 1, found {text!r}")
    return text


def model_name(text: str) -> str:
    """Refuse what is a path or hidden at once; the exporter knows all the rules of a name."""
    if not text.strip() or text.startswith(".") or "/" in text or "\\" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a model, such as 'digits'")
    return text
