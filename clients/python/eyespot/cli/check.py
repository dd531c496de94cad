"""`eyespot check`: hashes and parity of everything in a model repository, once more."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.cli.argument_types import seed
from eyespot.cli.errors import FAILURE, OK, CommandError, telling
from eyespot.cli.output import add_json_argument, counted, print_json
from eyespot.cli.progress import showing_progress

if TYPE_CHECKING:
    from eyespot.exporter import CheckResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("repository", metavar="REPOSITORY", type=Path, help="folder of models")
    parser.add_argument("--seed", type=seed, default=0, help="of the random inputs (default 0)")
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Check every version; one that is at fault makes the exit code 1."""
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.exporter import ExportError, check_repository

        with telling(ExportError):
            results = check_repository(options.repository, seed=options.seed, progress=tell)
    if not any(result.model_version for result in results):
        raise CommandError(_nothing_in(options.repository))
    if options.json:
        print_json(results)
    else:
        for result in results:
            _print(result)
        faulty = sum(not result.ok for result in results)
        print(f"{counted(len(results), 'model version')}, {faulty} at fault")
    return OK if all(result.ok for result in results) else FAILURE


def _nothing_in(folder: Path) -> str:
    """Say what is expected: a check of nothing must not pass for a good one."""
    is_model = (folder / "config.pbtxt").exists()
    meant = f"; is {folder.resolve().parent} meant?" if is_model else ""
    return f"no model version is in {folder}: expected {folder}/<model>/<version>/model.onnx{meant}"


def _print(result: CheckResult) -> None:
    parity = ""
    if result.parity is not None:
        worst = max((case.max_abs_diff for case in result.parity.cases), default=0.0)
        batches = counted(len(result.parity.cases), "batch", "batches")
        parity = f", max_abs_diff {worst:.3g} in {batches}"
    verdict = "ok" if result.ok else "FAULT"
    version = f" version {result.model_version}" if result.model_version else ""
    made = f", {result.derivation}" if result.derivation else ""
    print(f"{verdict:5}  {result.model_name}{version}{made}{parity}")
    for line in (*result.reasons, *result.notes):
        print(f"       {line}")
