"""`eyespot models`: what the zoo has."""

from __future__ import annotations

import argparse

from eyespot.cli.output import add_json_argument, print_json, print_table, shape_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """List the networks."""
    from eyespot.zoo import list_models, model_entry

    entries = [model_entry(name) for name in list_models()]
    if options.json:
        print_json(
            [
                {
                    "name": entry.name,
                    "parameter_count": entry.parameter_count,
                    "input_size": entry.input_size,
                    "num_classes": entry.num_classes,
                    "task": entry.task,
                    "paper": entry.paper,
                    "year": entry.year,
                    "departures": entry.departures,
                    "preprocessing": entry.preprocessing,
                }
                for entry in entries
            ]
        )
        return 0
    print_table(
        ("NAME", "PARAMETERS", "INPUT", "YEAR", "PAPER"),
        [
            (
                entry.name,
                entry.parameter_count,
                shape_text(entry.input_size),
                str(entry.year),
                entry.paper.partition(":")[0],  # the authors
            )
            for entry in entries
        ],
    )
    return 0
