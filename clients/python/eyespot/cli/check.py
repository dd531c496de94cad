"""`eyespot check`: hashes and parity of a repository, a model or a version, once more."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.cli.argument_types import seed
from eyespot.cli.entry_place import models_in
from eyespot.cli.errors import FAILURE, OK, CommandError, UsageError, telling
from eyespot.cli.output import add_json_argument, counted, print_json
from eyespot.cli.progress import showing_progress
from eyespot.v1.manifest import CONFIG_FILE, MODEL_FILE

if TYPE_CHECKING:
    from eyespot.exporter import CheckResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "path",
        metavar="REPOSITORY[/NAME[/VERSION]]",
        type=Path,
        help="folder of models, of one model, or of one version",
    )
    parser.add_argument(
        "models", metavar="NAME", nargs="*", help="models of the repository (default: all)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the random inputs (default 0)")
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Check every version; one that is at fault makes the exit code 1."""
    repository, models, version = _what(options)
    there = models_in(repository)
    if unknown := [name for name in models if name not in there]:
        raise CommandError(
            f"no model {unknown[0]!r} in {repository}; its models: {', '.join(there) or 'none'}"
        )
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.exporter import ExportError, check_model, check_repository

        results = []
        with telling(ExportError):
            for name in models:
                results += check_model(
                    repository, name, version=version, seed=options.seed, progress=tell
                )
            if not models:
                results = check_repository(repository, seed=options.seed, progress=tell)
    if not any(result.model_version for result in results):
        raise CommandError(
            f"no model version is in {options.path}: expected "
            f"{repository}/<model>/<version>/{MODEL_FILE}"
        )
    if options.json:
        print_json(results)
    else:
        for result in results:
            _print(result)
        faulty = sum(not result.ok for result in results)
        print(f"{counted(len(results), 'model version')}, {faulty} at fault")
    return OK if all(result.ok for result in results) else FAILURE


def _what(options: argparse.Namespace) -> tuple[Path, list[str], str | None]:
    """Tell a repository from one of its models and from a version: no names mean all models."""
    whole = options.path.absolute()
    if _is_model(whole):
        repository, models, version = whole.parent, [whole.name], None
    elif whole.name.isdigit() and _is_model(whole.parent):
        repository, models, version = whole.parent.parent, [whole.parent.name], whole.name
    else:
        return options.path, options.models, None
    if options.models:
        raise UsageError(
            f"{options.path} is a model: NAME goes with a repository, such as {repository}"
        )
    return repository, models, version


def _is_model(folder: Path) -> bool:
    return (folder / CONFIG_FILE).exists() or any(folder.glob(f"[0-9]*/{MODEL_FILE}"))


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
