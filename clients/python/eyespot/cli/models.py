"""`eyespot models`: what the zoo has."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from eyespot.cli.output import add_json_argument, print_json, print_table
from eyespot.cli.progress import showing_progress

if TYPE_CHECKING:
    from eyespot.zoo import ModelEntry

_WIDEST_AUTHORS = 22  # a line is to fit a terminal
_UNITS = (("G", 1e9), ("M", 1e6), ("k", 1e3))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """List the networks."""
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.zoo import list_models, model_entry

        entries = [model_entry(name) for name in list_models()]
    if options.json:
        print_json([_facts(entry) for entry in entries])
        return 0
    print_table(
        ("NAME", "TASK", "PARAMETERS", "MACS", "INPUT", "YEAR", "PAPER"),
        [
            (
                entry.name,
                entry.task,
                entry.parameter_count,
                _scaled(entry.macs).rjust(6),
                "x".join(map(str, entry.input_size)),
                str(entry.year),
                _shortened(entry.paper.partition(":")[0]),
            )
            for entry in entries
        ],
        dispensable=["PAPER", "YEAR"],
    )
    return 0


def _facts(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "task": entry.task,
        "parameter_count": entry.parameter_count,
        "macs": entry.macs,
        "receptive_field": entry.receptive_field,
        "input_size": entry.input_size,
        "min_input_size": entry.min_input_size,
        "dynamic_axes": list(entry.dynamic_axes.values()),
        "num_classes": entry.num_classes,
        "models": [f"{entry.name}_{part.suffix}" for part in entry.parts if part.suffix]
        or [entry.name],
        "paper": entry.paper,
        "year": entry.year,
        "departures": entry.departures,
        "preprocessing": entry.preprocessing,
    }


def _scaled(count: int) -> str:
    unit, size = next(((u, s) for u, s in _UNITS if count >= s), ("", 1.0))
    return f"{count / size:.3g} {unit}"


def _shortened(authors: str) -> str:
    if len(authors) <= _WIDEST_AUTHORS:
        return authors
    return re.split(r",| and ", authors)[0] + " et al."
