"""What the commands share that make a version from another one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyespot.cli.argument_types import model_name
from eyespot.cli.entry_place import split_entry
from eyespot.cli.errors import UsageError, telling
from eyespot.cli.output import counted, number_text, print_facts
from eyespot.cli.progress import showing_progress
from eyespot.v1.manifest import ORIGINAL_FILE, ORIGINAL_GRAPH_FILE, Manifest

if TYPE_CHECKING:
    from eyespot.exporter.quantisation import Derived

_UNITS = ("bytes", "KiB", "MiB", "GiB")


def add_derived_arguments(parser: argparse.ArgumentParser, *, suffix: str) -> None:
    """Let the user name a version, and where the new one goes."""
    parser.add_argument(
        "model",
        metavar="REPOSITORY/NAME[/VERSION]",
        help="folder of a model or of one version (default the latest)",
    )
    parser.add_argument(
        "--name", type=model_name, help=f"of the new model (default NAME{suffix}), beside the old"
    )
    parser.add_argument(
        "--as-version",
        action="store_true",
        help="make it the next version of the same model, which servers then serve",
    )


@contextmanager
def deriving(options: argparse.Namespace) -> Iterator[tuple[tuple[Path, str], dict[str, Any]]]:
    """Give what the exporter takes: the model, and the rest by name; its errors end the command."""
    repository, name, version = split_entry(options.model)
    if options.name and options.as_version:
        raise UsageError("--name is for another model, --as-version for the same one")
    place = {"model_name": options.name, "as_version": options.as_version}
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.exporter import ExportError

        with telling(ExportError, OSError):
            yield (repository, name), {"version": version, "progress": tell, **place}


def print_derived(derived: Derived, facts: Mapping[str, object]) -> None:
    """Print where a version is, and what came of it."""
    step = derived.manifest.derivations[-1]
    print(f"{step}")
    print_facts(
        {
            **facts,
            "size": f"{size_text(step.measured['bytes'])}, before "
            f"{size_text(step.measured['source_bytes'])}",
            **_originals(derived),
            "speed here": "\n".join(map(_speed_text, step.measured["speed"])),
            **_parity_facts(derived.manifest),
        }
    )
    print(f"wrote {derived.model_name} version {derived.model_version} at {derived.path}")
    for note in derived.notes:
        print(note)


def _originals(derived: Derived) -> dict[str, object]:
    """Tell what else the version takes on the disk."""
    files = [
        file for file in (ORIGINAL_FILE, ORIGINAL_GRAPH_FILE) if file in derived.manifest.files
    ]
    if not files:
        return {}
    count = sum((derived.path / file).stat().st_size for file in files)
    return {"beside it": f"{size_text(count)} that explanations need: {' and '.join(files)}"}


def _parity_facts(manifest: Manifest) -> dict[str, object]:
    """Tell how far the version is from what it is checked against, and may be."""
    parity = manifest.parity
    if parity is None:
        return {}
    compared = "PyTorch" if ORIGINAL_FILE in manifest.files else "the source"
    worst = max(case.max_rel_diff for case in parity.cases)
    return {
        f"from {compared}": f"{worst:.2g} of its outputs' scale at most, on "
        f"{counted(len(parity.cases), 'batch', 'batches')}",
        "tolerance": f"{parity.rtol:g} of that scale, which the server and `eyespot check` allow",
    }


def size_text(count: int) -> str:
    """Write a number of bytes as people do."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{number_text(value)} {_UNITS[unit]}"


def _speed_text(speed: Mapping[str, Any]) -> str:
    after, before = number_text(speed["ms"]), number_text(speed["source_ms"])
    return (
        f"{speed['times_as_fast']:.2f} times as fast at batch {speed['batch_size']} "
        f"({after} ms, before {before} ms)"
    )
