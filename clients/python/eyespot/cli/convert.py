"""`eyespot convert`: a version in half precision, or one that takes a quarter of the disk."""

from __future__ import annotations

import argparse

from eyespot.cli.derived import add_derived_arguments, deriving, print_derived
from eyespot.cli.errors import UsageError
from eyespot.cli.output import add_json_argument, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_derived_arguments(parser, suffix="_fp16 or NAME_int8_weights")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--float16",
        dest="to",
        action="store_const",
        const="float16",
        help="half precision, for GPUs: half the size; a CPU only emulates it",
    )
    kind.add_argument(
        "--int8-weights",
        dest="to",
        action="store_const",
        const="int8 weights",
        help="weights kept as INT8 on disk, a quarter of the size, and made floats of at the start",
    )
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Convert the model."""
    if options.to is None:
        raise UsageError(
            "tell what to make of it: --float16 (half the size, for GPUs) or --int8-weights (a "
            "quarter of the size, for small disks)"
        )
    with deriving(options) as (model, arguments):
        from eyespot.exporter.quantisation import convert

        derived = convert(*model, to=options.to, **arguments)
    if options.json:
        print_json(derived)
    else:
        print_derived(derived, {})
    return 0
