"""`eyespot inspect`: what an entry of a model repository says of itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.cli.errors import CommandError, telling
from eyespot.cli.layers import print_layers
from eyespot.cli.output import add_json_argument, print_facts, print_json, print_table, shape_text
from eyespot.v1.manifest import CONFIG_FILE, ParityReport, Provenance, TensorSpec
from eyespot.v1.preprocessing import PreprocessingRule

if TYPE_CHECKING:
    from eyespot.exporter import Entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "entry",
        metavar="REPOSITORY/NAME[/VERSION]",
        type=Path,
        help="folder of a model, or of one version (default the latest)",
    )
    parser.add_argument(
        "--layers",
        action="store_true",
        help="list the layers that a saliency method may be asked about, with their shapes",
    )
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Describe the entry."""
    from eyespot.exporter import ExportError, inspect_entry

    repository, name, version = _split(options.entry)
    with telling(ExportError):
        _check_is_entry(options.entry, repository, name)
        entry = inspect_entry(repository, name, version)
    if options.layers:
        print_layers(repository / name / entry.model_version, as_json=options.json)
        return 0
    if options.json:
        print_json(entry)
        return 0
    print_facts(_facts(entry))
    if entry.parity is not None:
        print()
        print_parity(entry.parity)
    return 0


def print_parity(report: ParityReport) -> None:
    """Print every comparison with the original."""
    print(f"parity with the PyTorch original (tolerance {report.atol:g} + {report.rtol:g} x scale)")
    print_table(
        ("INPUTS", "BATCH", "OUTPUT", "MAX ABS DIFF", "MAX REL DIFF", "TOP-1 AGREEMENT"),
        [
            (
                case.source,
                case.batch_size,
                case.output,
                case.max_abs_diff,
                case.max_rel_diff,
                case.top1_agreement,
            )
            for case in report.cases
        ],
    )


def rule_text(rule: PreprocessingRule | None) -> str:
    """Write a rule in the order in which it is applied."""
    if rule is None:
        return "none: the graph takes what the network takes"
    steps = [f"to {rule.color_order}"]
    if rule.resize_size is not None:
        size = rule.resize_size
        what = "shorter side" if isinstance(size, int) else "height and width"
        steps.append(f"resize {what} to {size} ({rule.interpolation})")
    if rule.crop_size is not None:
        steps.append(f"crop the centre {rule.crop_size}")
    return f"{', '.join(steps)}\nin the graph: mean {list(rule.mean)}, std {list(rule.std)}"


def _split(path: Path) -> tuple[Path, str, str | None]:
    """Take repository, name and version apart; a version is a number without a config."""
    path = path.absolute()
    if path.name.isdigit() and not (path / CONFIG_FILE).exists():
        return path.parent.parent, path.parent.name, path.name
    return path.parent, path.name, None


def _check_is_entry(path: Path, repository: Path, name: str) -> None:
    """Tell someone who named a repository, or a model that is not there, what there is."""
    inside = sorted(folder.parent.name for folder in path.glob(f"[!.]*/{CONFIG_FILE}"))
    if inside:
        raise CommandError(
            f"{path} is a repository; inspect one of its models: {', '.join(inside)}"
        )
    from eyespot.exporter.repository import list_models

    there = list_models(repository)
    if name not in there:
        known = ", ".join(there) or "none"
        raise CommandError(f"no model {name!r} in {repository}; its models: {known}")


def _facts(entry: Entry) -> dict[str, object]:
    count = entry.parameter_count
    return {
        "model": f"{entry.model_name} version {entry.model_version} "
        f"(of {', '.join(entry.model_versions)})",
        "inputs": _tensors(entry.inputs),
        "outputs": _tensors(entry.outputs),
        "max_batch_size": entry.max_batch_size,
        "parameters": None if count is None else f"{count:,}",
        "opset_version": entry.opset_version,
        "saliency": "yes" if entry.is_explainable else "no: there is no PyTorch original",
        "preprocessing": rule_text(entry.preprocessing),
        **_provenance(entry.provenance),
        "files": "\n".join(f"{name} ({size:,} bytes)" for name, size in entry.files.items()),
        "written by": ", ".join(f"{k} {v}" for k, v in entry.library_versions.items()),
    }


def _provenance(provenance: Provenance) -> dict[str, object]:
    return {
        "architecture": provenance.architecture,
        "paper": provenance.paper,
        "year": provenance.year,
        "weights": provenance.weights,
        "weights SHA-256": provenance.weights_sha256,
        "training": "\n".join(f"{name}: {value}" for name, value in provenance.training.items()),
    }


def _tensors(specs: Iterable[TensorSpec]) -> str:
    return "\n".join(f"{spec.name} {spec.datatype} {shape_text(spec.shape)}" for spec in specs)
