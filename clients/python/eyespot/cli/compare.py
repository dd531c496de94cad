"""`eyespot compare`: networks side by side, as a table and as one picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.cli.argument_types import at_least_one, seed
from eyespot.cli.entry_place import check_exists, is_path, split_entry
from eyespot.cli.errors import telling
from eyespot.cli.given_paths import check_place_of_picture
from eyespot.cli.output import add_json_argument, print_json, print_table
from eyespot.cli.progress import showing_progress

if TYPE_CHECKING:
    from eyespot.exporter import ComparedNetwork


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "networks",
        nargs="+",
        metavar="MODEL|REPOSITORY/NAME[/VERSION]",
        help="networks of the zoo, with random weights, or entries; ratios are to the first",
    )
    parser.add_argument("--output", type=Path, metavar="FILE.png", help="draw a scatter plot too")
    parser.add_argument(
        "--repeats", type=at_least_one, default=7, metavar="N", help="timed runs (default 7)"
    )
    parser.add_argument(
        "--max-batch-size",
        type=at_least_one,
        default=32,
        metavar="ROWS",
        help="largest batch to try (default 32)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of random weights (default 0)")
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Compare the networks."""
    for network in options.networks:
        check_exists(network)
    check_place_of_picture(options.output)
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.exporter import EntryPlace, ExportError, compare_networks, draw_comparison
        from eyespot.exporter.latency import BATCH_SIZES
        from eyespot.zoo import ZooError

        places = [
            EntryPlace(*split_entry(text)) if is_path(text) else text for text in options.networks
        ]
        with telling(ZooError, ExportError, OSError):
            networks = compare_networks(
                places,
                repeats=options.repeats,
                batch_sizes=[size for size in BATCH_SIZES if size <= options.max_batch_size],
                seed=options.seed,
                progress=tell,
            )
            if options.output is not None:
                draw_comparison(networks, options.output)
    if options.json:
        print_json({"networks": networks, "picture": options.output})
    else:
        _print(networks)
        if options.output is not None:
            print(f"drawn in {options.output}")
    return 0


def _print(networks: Sequence[ComparedNetwork]) -> None:
    print_table(
        ("NETWORK", "PARAMETERS", "MACS", "DEPTH", "FIELD", "MB", "MS", "TO FIRST",
         "BEST BATCH", "MS/ROW", "TO FIRST", "TOP-1 %", "TOP-5 %"),
        [
            (
                network.name,
                network.parameters,
                network.macs,
                network.depth,
                None if network.receptive_field is None else network.receptive_field[-1],
                network.model_bytes / 1e6,
                network.latency_ms,
                network.latency_ratio,
                network.best_batch,
                network.best_ms,
                network.best_ratio,
                network.error and network.error.top1,
                network.error and network.error.top5,
            )
            for network in networks
        ],
        dispensable=["TOP-5 %", "DEPTH", "FIELD", "BEST BATCH", "MB", "MACS"],
    )  # fmt: skip
    for network in networks:
        if network.error is not None:
            note = f"; {network.error.note}" if network.error.note else ""
            print(f"{network.name}: {network.error.how}, {network.error.source}{note}")
    if networks[0].gradient_norms:
        _print_norms(networks)


def _print_norms(networks: Sequence[ComparedNetwork]) -> None:
    print(f"\nnorm of the gradient at each of {networks[0].depth} layers, from the input on")
    rows = zip(*(network.gradient_norms for network in networks), strict=True)
    print_table(
        ("LAYER", *(network.name.upper() for network in networks)),
        [(depth, *norms) for depth, norms in enumerate(rows, start=1)],
    )
