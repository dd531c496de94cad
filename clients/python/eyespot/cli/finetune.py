"""`eyespot finetune`: pictures and a trained network in, a proven, explainable model out."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyespot.cli.argument_types import at_least_one, model_name, seed
from eyespot.cli.errors import INTERRUPTED, OK, CommandError, UsageError, telling
from eyespot.cli.finetune_progress import StageTeller
from eyespot.cli.output import add_json_argument, counted, print_facts, print_json, print_table
from eyespot.cli.parity_output import print_parity
from eyespot.cli.progress import showing_progress, tell_line
from eyespot.cli.read_pictures import tell_of_split

if TYPE_CHECKING:
    from eyespot.exporter import ExportResult
    from eyespot.transfer import PictureSplit
    from eyespot.transfer.stages import FineTuned, Machine, Recipe

RECIPE_FILE = "recipe.toml"
WEIGHTS_FILE = "weights.safetensors"

# Settings of the recipe: each option has the name of its field.
_NUMBERS: dict[str, tuple[type, str, str]] = {
    "held_out": (float, "SHARE", "of each class that is held out (default 0.2)"),
    "head_learning_rate": (float, "RATE", "of stage 1 (default found by itself)"),
    "head_epochs": (int, "N", "of stage 1 at most (default 200, with early stopping)"),
    "epochs": (int, "N", "of stage 2 (default 8)"),
    "batch_size": (int, "N", "pictures of a step of stage 2 (default 32)"),
    "learning_rate": (float, "RATE", "of the last block in stage 2, at its peak (default 0.0003)"),
    "decay": (float, "FACTOR", "of the rate from each block to the one before (default 0.4)"),
    "weight_decay": (float, "FACTOR", "of AdamW (default 0.01)"),
    "mixup": (float, "ALPHA", "blend pairs of pictures, such as 0.2 (default 0: none)"),
    "label_smoothing": (float, "SHARE", "such as 0.1 (default 0)"),
    "ema": (float, "DECAY", "keep a moving average of the weights, such as 0.99 (default 0: none)"),
}
_WORDS: dict[str, tuple[str, str]] = {
    "backbone": ("NAME|REPOSITORY/MODEL", "network to start from (default resnet18)"),
    "weights": ("FILE|NAME", "its weights: safetensors, .pt, or a published name"),
    "method": (
        "METHOD",
        "linear-probe, head, last-block, full or gradual (default last-block)",
    ),
    "unfreeze": ("none|last-block|N|all", "blocks that learn in stage 2 (default the method's)"),
    "head": ("LAYER", "name of the classifier to replace (default it finds itself)"),
    "val": ("DATA", "data that is held out (default a share of DATA)"),
    "augment": ("none|gentle|natural", "how pictures are varied in stage 2 (default natural)"),
    "balance": ("none|weights|sampling", "what is done for rare classes (default none)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "data",
        metavar="DATA",
        type=Path,
        help="folder with a folder of pictures for each class (or with train/ and val/ of such "
        "folders), a CSV of paths and labels, or a .npz",
    )
    parser.add_argument(
        "--output", metavar="REPOSITORY", type=Path, help="folder of models to export to"
    )
    parser.add_argument("--name", type=model_name, help="of the model (default the name of DATA)")
    parser.add_argument(
        "--folder",
        metavar="DIR",
        type=Path,
        help="for the report, the recipe, the weights, the cached features and the checkpoint "
        "(default NAME-finetuned)",
    )
    parser.add_argument("--no-export", action="store_true", help="leave it at the folder")
    parser.add_argument(
        "--replace", action="store_true", help="put it in the place of the latest version"
    )
    parser.add_argument(
        "--resume", action="store_true", help="take up the training that was interrupted"
    )
    parser.add_argument(
        "--compare-methods",
        action="store_true",
        help="try every method, and print accuracy against CPU minutes; nothing is kept",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="recipe (TOML or JSON), in which other options replace single settings",
    )
    _add_recipe_arguments(parser)
    _add_machine_arguments(parser)
    add_json_argument(parser)


def _add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("recipe")
    for name, (metavar, text) in _WORDS.items():
        group.add_argument(_option(name), metavar=metavar, help=text)
    task = group.add_mutually_exclusive_group()
    task.add_argument(
        "--multi-label",
        dest="task",
        action="store_const",
        const="multi-label",
        help="a picture may have any number of classes",
    )
    task.add_argument(
        "--single-probability",
        dest="task",
        action="store_const",
        const="single-probability",
        help="of two classes, learn the probability of the second (hot dog or not)",
    )
    group.add_argument(
        "--input-size", type=at_least_one, metavar="PIXELS", help="height and width of the input"
    )
    group.add_argument("--channels", type=int, choices=(1, 3), help="1 for grey, 3 for colour")
    for name, (kind, metavar, text) in _NUMBERS.items():
        group.add_argument(_option(name), type=kind, metavar=metavar, help=text)
    group.add_argument(
        "--temperature",
        action=argparse.BooleanOptionalAction,
        help="fit a temperature on what is held out, and bake it into the network",
    )
    group.add_argument("--seed", type=seed, help="of all that is random (default 0)")


def _add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("machine")
    group.add_argument("--device", default="auto", help="cpu, cuda (default what is there)")
    group.add_argument(
        "--precision",
        default="auto",
        metavar="float32|bfloat16",
        help="(default float32; on a GPU that has it bfloat16)",
    )
    group.add_argument("--threads", type=at_least_one, metavar="N", help="that compute")
    group.add_argument(
        "--workers", type=int, metavar="N", help="processes that vary pictures (default by size)"
    )
    group.add_argument(
        "--checkpoint-minutes",
        type=float,
        default=3.0,
        metavar="M",
        help="a checkpoint is written so often within an epoch (default 3)",
    )


def run(options: argparse.Namespace) -> int:
    """Fine-tune, write the folder, and export."""
    is_kept = not options.compare_methods
    if is_kept and options.output is None and not options.no_export:
        raise UsageError("give --output REPOSITORY to export to, or --no-export")
    name = options.name or options.data.stem
    folder = options.folder or Path(f"{name}-finetuned")
    with showing_progress() as tell:
        tell("loading PyTorch")
        import torch

        from eyespot.exporter import ExportError
        from eyespot.transfer import InterruptedTrainingError, TransferError
        from eyespot.transfer.stages import read_pictures_for, require_place
        from eyespot.zoo import ZooError

        if options.threads is not None:
            torch.set_num_threads(options.threads)
        watch = StageTeller(tell)
        with telling(ExportError, TransferError, ZooError, OSError):
            recipe = _recipe(options)
            exports = is_kept and not options.no_export
            if exports:
                require_place(options.output, name=name)
            split = read_pictures_for(options.data, recipe, progress=watch)
            tell_of_split(split)
            machine = _machine(options, split)
            if options.compare_methods:
                return _compare(options, split, recipe, machine, watch)
            if exports:
                require_place(
                    options.output, name=name, labels=split.labels, replace=options.replace
                )
            try:
                tuned = _fine_tune(options, split, recipe, machine, folder, watch)
            except InterruptedTrainingError as error:
                raise CommandError(
                    f"{error}: run the same command with --resume", exit_code=INTERRUPTED
                ) from error
            tell("writing the report")
            _write_folder(tuned, folder, title=name)
            exported = _export(options, tuned, name, tell) if exports else None
    if options.json:
        print_json(_told(tuned, folder, exported))
    else:
        _print(tuned, folder, exported)
    return OK


def _recipe(options: argparse.Namespace) -> Recipe:
    """The recipe of the file, with what the command line says in its place."""
    from eyespot.transfer.stages import Recipe, read_recipe

    recipe = Recipe() if options.config is None else read_recipe(options.config)
    names = [field.name for field in dataclasses.fields(Recipe)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return dataclasses.replace(recipe, **given)


def _machine(options: argparse.Namespace, split: PictureSplit) -> Machine:
    from eyespot.transfer.stages import choose_machine

    return choose_machine(
        side=max(split.train.images.shape[1:3]),
        device=options.device,
        precision=options.precision,
        workers=options.workers,
    )


def _fine_tune(
    options: argparse.Namespace,
    split: PictureSplit,
    recipe: Recipe,
    machine: Machine,
    folder: Path,
    watch: StageTeller,
) -> FineTuned:
    from eyespot.transfer.stages import (
        CHECKPOINT_FILE,
        finish,
        prepare,
        train_probe,
        train_unfrozen,
    )

    if not options.resume and (folder / CHECKPOINT_FILE).exists():
        tell_line(f"{folder} has an interrupted training, which begins anew without --resume")
    prepared = prepare(split, recipe, machine=machine)
    names = ", ".join(block.name for block in prepared.blocks)
    tell_line(f"{prepared.backbone}; its blocks are {names}")
    if prepared.backbone.provenance.weights == "random":
        tell_line("the backbone's weights are random: --weights gives it trained ones")
    if (folder / WEIGHTS_FILE).exists():
        tell_line(f"what an earlier training left in {folder} gives way")
    if prepared.unfrozen:
        unfrozen = ", ".join(block.name for block in prepared.unfrozen)
        tell_line(f"after the head, these learn as well: {unfrozen}")
    folder.mkdir(parents=True, exist_ok=True)
    probe = train_probe(prepared, folder=folder, progress=watch)
    blocks = train_unfrozen(
        prepared,
        probe,
        folder=folder,
        resume=options.resume,
        checkpoint_seconds=60 * options.checkpoint_minutes,
        progress=watch,
    )
    return finish(prepared, probe, blocks)


def _write_folder(tuned: FineTuned, folder: Path, *, title: str) -> None:
    import json

    from eyespot.transfer import save_weights, write_report
    from eyespot.transfer.stages import report_of

    (folder / RECIPE_FILE).write_text(tuned.recipe.to_toml(), encoding="utf-8")
    labels = json.dumps(tuned.split.labels, ensure_ascii=False)
    save_weights(tuned.backbone.network, folder / WEIGHTS_FILE, training={"labels": labels})
    write_report(report_of(tuned, title=title), folder)


def _export(options: argparse.Namespace, tuned: FineTuned, name: str, tell: Any) -> ExportResult:
    from eyespot.transfer.stages import export_fine_tuned

    return export_fine_tuned(
        tuned, options.output, name=name, replace=options.replace, progress=tell
    )


def _compare(
    options: argparse.Namespace,
    split: PictureSplit,
    recipe: Recipe,
    machine: Machine,
    watch: StageTeller,
) -> int:
    from eyespot.transfer.stages import METHODS, compare_methods

    rows = list(compare_methods(split, recipe, machine=machine, progress=watch, begin=watch.begin))
    if options.json:
        print_json(rows)
        return OK
    print_table(
        ("METHOD", "ACCURACY", "LOSS", "PARAMETERS", "CPU MINUTES"),
        [
            (row.method, f"{row.accuracy:.2%}", row.loss, row.trained, row.cpu_seconds / 60)
            for row in rows
        ],
    )
    print(
        f"\n{counted(len(split.train), 'picture')} to learn from, "
        f"{len(split.held_out):,} held out; PARAMETERS have learnt"
    )
    for row in rows:
        print(f"{row.method}: {METHODS[row.method].summary}")
    return OK


def _print(tuned: FineTuned, folder: Path, exported: ExportResult | None) -> None:
    from eyespot.transfer.stages import facts_of

    metrics = tuned.metrics
    facts: dict[str, object] = dict(facts_of(tuned))
    facts["accuracy"] = f"{metrics.accuracy:.2%} of {metrics.count:,} pictures held out"
    facts["calibration"] = f"off by {metrics.calibration.error:.2%}"
    if tuned.temperature is not None:
        facts["temperature"] = f"{tuned.temperature.value:.3g}, baked in"
    facts["report"] = folder / "report.html"
    facts["recipe"] = f"{folder / RECIPE_FILE} (--config takes it again)"
    print_facts(facts)
    if exported is None:
        return
    manifest = exported.manifest
    print(f"\nexported {manifest.model_name} version {exported.model_version} to {exported.path}")
    for note in exported.notes:
        print(note)
    if manifest.parity is not None:
        print_parity(manifest.parity)
    repository = shlex.quote(str(exported.path.parent.parent))
    print(f"\nto serve it: eyespot serve {repository}")


def _told(tuned: FineTuned, folder: Path, exported: ExportResult | None) -> dict[str, object]:
    return {
        "folder": folder,
        "labels": tuned.split.labels,
        "train": len(tuned.split.train),
        "held_out": len(tuned.split.held_out),
        "skipped": tuned.split.skipped,
        "repeated": tuned.split.repeated,
        "blocks": [block.name for block in tuned.blocks],
        "unfrozen": [block.name for block in tuned.unfrozen],
        "learning_rate": tuned.probe.head.learning_rate,
        "were_features_cached": tuned.probe.were_features_cached,
        "history": tuned.history,
        "kept": tuned.kept,
        "metrics": tuned.metrics,
        "temperature": tuned.temperature,
        "recipe": tuned.recipe,
        "exported": exported,
    }


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
