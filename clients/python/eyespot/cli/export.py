"""`eyespot export`: a network of the zoo into the model repository, with its proof."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyespot.cli.argument_types import at_least_one, model_name
from eyespot.cli.errors import UsageError, telling
from eyespot.cli.inspect import print_parity
from eyespot.cli.output import add_json_argument, print_json
from eyespot.cli.progress import showing_progress
from eyespot.v1.preprocessing import PreprocessingError, PreprocessingRule

if TYPE_CHECKING:
    from eyespot.exporter import ExportResult

_RULE_OPTIONS = ("mean", "std", "resize", "crop", "interpolation")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="network of the zoo (see `eyespot models`)")
    parser.add_argument(
        "--output", required=True, metavar="REPOSITORY", type=Path, help="folder of models"
    )
    parser.add_argument(
        "--weights", metavar="FILE|NAME", help="state_dict, or published name (default random)"
    )
    parser.add_argument("--name", type=model_name, help="name to serve it under (default MODEL)")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="one label a line")
    parser.add_argument("--num-classes", type=at_least_one, metavar="N", help="width of the output")
    parser.add_argument(
        "--input-size", type=at_least_one, metavar="PIXELS", help="height and width"
    )
    parser.add_argument("--channels", type=at_least_one, metavar="N", help="of the input: 1 or 3")
    parser.add_argument("--opset", type=int, metavar="N", help="of the ONNX graph, 18 or later")
    parser.add_argument(
        "--max-batch-size", type=at_least_one, metavar="ROWS", help="most rows of a batch"
    )
    parser.add_argument(
        "--parity-images", type=Path, metavar="DIR", help="compare on these pictures too"
    )
    parser.add_argument("--force", action="store_true", help="replace the latest version")
    parser.add_argument(
        "--seed", type=int, default=0, help="of random weights and inputs (default 0)"
    )
    _add_rule_arguments(parser)
    add_json_argument(parser)


def _add_rule_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "preprocessing",
        "What a picture goes through; the rule of the weights or of the network unless told. "
        "The single values change that rule.",
    )
    group.add_argument(
        "--preprocessing", metavar="imagenet|none|FILE", help="a known rule, none, or a JSON file"
    )
    group.add_argument("--mean", type=_numbers, metavar="R,G,B", help="of pixels in [0, 1]")
    group.add_argument("--std", type=_numbers, metavar="R,G,B", help="of pixels in [0, 1]")
    group.add_argument(
        "--resize", type=_resize, metavar="SIZE|HxW", help="shorter side, or both sides"
    )
    group.add_argument("--crop", type=_crop, metavar="SIZE|HxW", help="cut from the centre")
    group.add_argument("--interpolation", help="nearest, bilinear, bicubic, lanczos, ...")


def run(options: argparse.Namespace) -> int:
    """Export, and print the parity report."""
    if options.preprocessing and _changes(options):
        given = ", ".join(f"--{name}" for name in _changes(options))
        raise UsageError(f"--preprocessing tells the whole rule: it does not go with {given}")
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.exporter import ExportError, export_zoo_parts
        from eyespot.zoo import ZooError

        with telling(ExportError, ZooError, PreprocessingError):
            results = export_zoo_parts(
                options.model,
                repository=options.output,
                weights=options.weights,
                model_name=options.name,
                labels=options.labels,
                num_classes=options.num_classes,
                input_size=options.input_size,
                in_channels=options.channels,
                preprocessing=_rule(options),
                max_batch_size=options.max_batch_size,
                parity_images=options.parity_images,
                force=options.force,
                seed=options.seed,
                progress=tell,
                **({} if options.opset is None else {"opset_version": options.opset}),
            )
    if options.json:
        print_json(results[0] if len(results) == 1 else results)
    else:
        for result in results:
            _print(result)
    return 0


def _print(result: ExportResult) -> None:
    manifest = result.manifest
    print(f"exported {manifest.model_name} version {result.model_version} to {result.path}")
    if manifest.provenance.weights == "random":
        print("its weights are random: --weights gives it trained ones")
    for note in result.notes:
        print(note)
    if manifest.parity is not None:
        print_parity(manifest.parity)


def _changes(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in _RULE_OPTIONS}
    return {name: value for name, value in given.items() if value is not None}


def _rule(options: argparse.Namespace) -> str | Path | PreprocessingRule | None:
    told: str | None = options.preprocessing
    if told is not None:
        return told if told in ("imagenet", "none") else Path(told)
    changes = _changes(options)
    return _changed_rule(options, changes) if changes else None


def _changed_rule(options: argparse.Namespace, changes: dict[str, Any]) -> PreprocessingRule:
    """Change the rule that the network would get."""
    from eyespot.exporter.zoo_export import choose_rule_for, input_size_of
    from eyespot.zoo import model_entry

    entry = model_entry(options.model)
    rule = choose_rule_for(
        entry,
        input_size_of(entry, in_channels=options.channels, input_size=options.input_size),
        None,
        weights=options.weights,
    )
    if rule is None:
        given = ", ".join(f"--{name}" for name in changes)
        raise UsageError(f"{entry.name} takes no picture: {given} changes nothing")
    fields = {"resize": "resize_size", "crop": "crop_size"}
    return dataclasses.replace(
        rule, **{fields.get(name, name): value for name, value in changes.items()}
    )


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(","))


def _resize(text: str) -> int | tuple[int, int]:
    return _pair(text) if "x" in text else int(text)


def _crop(text: str) -> tuple[int, int]:
    return _pair(text) if "x" in text else (int(text), int(text))


def _pair(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)
