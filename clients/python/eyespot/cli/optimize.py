"""`eyespot optimize`: a version whose graph is folded and fused ahead, for a fast start."""

from __future__ import annotations

import argparse

from eyespot.cli.derived import add_derived_arguments, derived_place, print_derived
from eyespot.cli.entry_place import split_entry
from eyespot.cli.errors import telling
from eyespot.cli.output import add_json_argument, number_text, print_json
from eyespot.cli.progress import showing_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_derived_arguments(parser, suffix="_optimised")
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Optimise the model."""
    repository, name, version = split_entry(options.model)
    place = derived_place(options)
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.exporter import ExportError
        from eyespot.exporter.quantisation import optimise

        with telling(ExportError, OSError):
            derived = optimise(repository, name, version=version, progress=tell, **place)
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
