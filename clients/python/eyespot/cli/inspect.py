"""`eyespot inspect`: a network layer by layer, and what a repository entry says of itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyespot.cli.argument_types import at_least_one, seed
from eyespot.cli.entry_place import check_exists, is_path, split_entry
from eyespot.cli.errors import CommandError, UsageError, telling
from eyespot.cli.given_paths import check_picture_folder, check_place_of_picture, check_weights
from eyespot.cli.layer_output import print_layers, print_maps, table_json
from eyespot.cli.output import add_json_argument, print_facts, print_json, shape_text
from eyespot.cli.parity_output import print_parity
from eyespot.cli.progress import showing_progress
from eyespot.v1.manifest import Derivation, Provenance, TensorSpec
from eyespot.v1.preprocessing import PreprocessingRule

if TYPE_CHECKING:
    from eyespot.exporter import EffectiveField, Entry, LayerTable


_OWN = "its own normalising, if it has any"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "network",
        metavar="MODEL|REPOSITORY/NAME[/VERSION]",
        help="network of the zoo, or folder of a model or of one version (default the latest)",
    )
    parser.add_argument(
        "--input-size", type=at_least_one, metavar="PIXELS", help="height and width, where free"
    )
    parser.add_argument(
        "--layers", action="store_true", help="list the maps that saliency takes as its layer"
    )
    parser.add_argument("--operators", action="store_true", help="show every operator of the graph")
    _add_measurement_arguments(parser)
    add_json_argument(parser)


def _add_measurement_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "effective receptive field", "How much each pixel really moves the centre unit of a map."
    )
    group.add_argument("--measure", action="store_true", help="measure it, and draw it as a PNG")
    group.add_argument(
        "--output", type=Path, metavar="FILE.png", help="the picture (default MODEL-field.png)"
    )
    group.add_argument(
        "--layer",
        metavar="NAME",
        help="map to measure, a NODE or LAYER of --layers (default the last)",
    )
    group.add_argument("--images", type=Path, metavar="DIR", help="pictures for random inputs")
    group.add_argument(
        "--weights", metavar="FILE|NAME", help="of a network of the zoo (default random)"
    )
    group.add_argument(
        "--samples", type=at_least_one, default=20, metavar="N", help="gradients (default 20)"
    )
    group.add_argument("--seed", type=seed, default=0, help="of all that is random (default 0)")


def run(options: argparse.Namespace) -> int:
    """Describe the network."""
    if options.layers and options.measure:
        raise UsageError("--layers does not go with --measure")
    if not options.measure and (options.output or options.layer or options.images):
        raise UsageError("--output, --layer and --images go with --measure")
    is_entry = is_path(options.network)
    check_exists(options.network)
    check_weights(options.weights, network=options.network)
    check_picture_folder(options.images)
    check_place_of_picture(options.output)
    with showing_progress() as tell:
        tell("loading PyTorch")
        entry, table = _read_entry(options) if is_entry else (None, _read_zoo(options))
    field, picture = _measure(options, is_entry) if options.measure else (None, None)
    if options.json:
        _print_json(entry, table, field, picture, only_maps=options.layers)
        return 0
    if options.layers:
        print_maps(_known(table))
        return 0
    if entry is not None:
        print_facts(_facts(entry))
        if entry.parity is not None:
            print()
            print_parity(entry.parity)
        print()
    if table is not None:
        print_layers(table, every=options.operators)
    if field is not None:
        _print_field(field, picture)
    return 0


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
    normalising = f"mean {list(rule.mean)}, std {list(rule.std)}" if rule.normalises else _OWN
    return f"{', '.join(steps)}\nin the graph: {normalising}"


def _read_zoo(options: argparse.Namespace) -> LayerTable:
    from eyespot.exporter import ExportError, layer_table, trace_zoo_model
    from eyespot.zoo import ZooError

    with telling(ZooError, ExportError):
        return layer_table(trace_zoo_model(options.network, input_size=options.input_size))


def _read_entry(options: argparse.Namespace) -> tuple[Entry, LayerTable | None]:
    from eyespot.exporter import ExportError, entry_program, inspect_entry, layer_table

    repository, name, version = split_entry(options.network)
    with telling(ExportError):
        entry = inspect_entry(repository, name, version)
        if not entry.is_explainable:
            return entry, None
        program = entry_program(repository, name, version)
        return entry, layer_table(program, input_size=options.input_size)


def _measure(options: argparse.Namespace, is_entry: bool) -> tuple[EffectiveField, Path]:
    from eyespot.exporter import (
        ExportError,
        draw_effective_field,
        measure_entry,
        measure_zoo_model,
    )
    from eyespot.zoo import ZooError

    asked = {name: getattr(options, name) for name in ("images", "layer", "samples", "seed")}
    with showing_progress() as tell, telling(ZooError, ExportError, OSError):
        if is_entry:
            if options.weights is not None:
                raise UsageError("--weights is for a network of the zoo: an entry has its own")
            repository, name, version = split_entry(options.network)
            field = measure_entry(repository, name, version, progress=tell, **asked)
        else:
            name = options.network
            field = measure_zoo_model(
                name,
                weights=options.weights,
                input_size=options.input_size,
                progress=tell,
                **asked,
            )
        picture = options.output or Path(f"{name}-field.png")
        draw_effective_field(field, picture, title=name)
    return field, picture


def _known(table: LayerTable | None) -> LayerTable:
    if table is None:
        raise CommandError("it has no PyTorch original: there are no layers to look at")
    return table


def _print_json(
    entry: Entry | None,
    table: LayerTable | None,
    field: EffectiveField | None,
    picture: Path | None,
    *,
    only_maps: bool,
) -> None:
    told: dict[str, object] = {} if entry is None else dict(vars(entry))
    if only_maps:
        told = {"layers": table_json(_known(table), only_maps=True)}
    elif table is not None:
        told["network"] = table_json(table)
    if field is not None:
        measured = {name: value for name, value in vars(field).items() if name != "gradients"}
        told["effective_field"] = {**measured, "part": field.part, "picture": picture}
    print_json(told)


def _print_field(field: EffectiveField, picture: Path | None) -> None:
    _, _, height, width = field.box
    print(
        f"\neffective receptive field of {field.node}: about {field.size:.0f}x{field.size:.0f} of "
        f"{height:g}x{width:g} pixels ({field.part:.0%} of the side), drawn in {picture}"
    )


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
        "made": "\n".join(map(_step, entry.derivations)),
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
        "training": _lines(provenance.training),
        "fine-tuning": _lines(provenance.fine_tuning),
    }


def _step(step: Derivation) -> str:
    """Write how a version was made from another, and what came of it; details are set in."""
    told: dict[str, Any] = {
        "top-1 agreement": step.top1_agreement
        and f"{step.top1_agreement:.2%} of {step.pictures} pictures",
        **step.settings,
        **step.measured,
        "speed": [
            f"{speed['times_as_fast']} times as fast at batch {speed['batch_size']}"
            for speed in step.measured.get("speed", ())
        ],
    }
    short = {
        name: f"{value:.4g}" if isinstance(value, float) else value for name, value in told.items()
    }
    return "\n  ".join([str(step), *_lines(short).splitlines()])


def _lines(values: Mapping[str, Any]) -> str:
    """Write each value on a line of its own; those of a group are set in."""
    lines = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{name}:", *(f"  {line}" for line in _lines(value).splitlines())]
        elif isinstance(value, list | tuple):
            lines.append(f"{name}: {', '.join(map(str, value)) or 'none'}")
        elif value is not None:
            lines.append(f"{name}: {value}")
    return "\n".join(lines)


def _tensors(specs: Iterable[TensorSpec]) -> str:
    return "\n".join(f"{spec.name} {spec.datatype} {shape_text(spec.shape)}" for spec in specs)
