"""`eyespot optimize`: a version whose graph is folded and fused ahead, for a fast start."""

from __future__ import annotations

import argparse

from eyespot.cli.derived import add_derived_arguments, deriving, print_derived
from eyespot.cli.output import add_json_argument, number_text, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_derived_arguments(parser, suffix="_optimised")
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Optimise the model."""
    with deriving(options) as (model, arguments):
        from eyespot.exporter.quantisation import optimise

        derived = optimise(*model, **arguments)
    if options.json:
        print_json(derived)
        return 0
    step = derived.manifest.derivations[-1]
    before, after = step.settings["nodes"]
    opening = step.measured
    print_derived(
        derived,
        {
            "nodes": f"{after}, before {before}",
            "opens here in": f"{number_text(opening['opening_ms'])} ms, before "
            f"{number_text(opening['source_opening_ms'])} ms",
        },
    )
    return 0
