"""`eyespot tune`: how a model is run best on this machine, measured and written down."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.cli.argument_types import at_least_one, positive_number
from eyespot.cli.errors import FAILURE, OK, CommandError, UsageError, telling
from eyespot.cli.given_paths import check_place_of_picture
from eyespot.cli.output import add_json_argument, print_json
from eyespot.cli.progress import showing_progress, tell_line
from eyespot.v1.manifest import CONFIG_FILE

if TYPE_CHECKING:
    from eyespot.cli.tune_load import LoadedModel
    from eyespot.cli.tune_search import Measurement, Setting, Space
    from eyespot.v1.model_config_pb2 import ModelConfig

# Of a setting, as a rule: with one client, two, four, eight ...
_LEVELS = 6
_SHORTEST, _LONGEST = 0.25, 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL|REPOSITORY/MODEL", help="a model of a repository")
    parser.add_argument("--repository", type=Path, metavar="DIR", help="where MODEL is")
    parser.add_argument(
        "--max-latency-ms", type=positive_number, required=True, metavar="MS",
        help="the 99th percentile of the time to an answer must not exceed it",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=positive_number, default=60.0, metavar="S",
        help="time for measuring (default 60)",
    )  # fmt: skip
    parser.add_argument(
        "--max-batch-size", type=at_least_one, metavar="ROWS",
        help="largest batch to try (default: that of config.pbtxt)",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="leave config.pbtxt as it is")
    parser.add_argument(
        "--output", type=Path, metavar="FILE.png", help="picture (default: MODEL-tuning.png)"
    )
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Measure, print and draw the frontier, and write the best into config.pbtxt."""
    from eyespot.cli.tune_config import config_diff, config_text, replace_text, tuned
    from eyespot.cli.tune_output import print_tuning
    from eyespot.cli.tune_picture import draw_tuning
    from eyespot.cli.tune_search import choose, frontier

    check_place_of_picture(options.output)
    folder = _model_folder(options)
    config = _read_config(folder)
    bound = options.max_latency_ms
    measured = _measure(folder, config, options)
    chosen = choose(measured, bound)
    picture = options.output or Path(f"{folder.name}-tuning.png")
    with telling(OSError):
        draw_tuning(
            measured, chosen, max_latency_ms=bound, title=f"{folder.name} on this machine",
            path=picture,
        )  # fmt: skip
        diff = ""
        if chosen is not None:
            text = config_text(tuned(config, chosen.setting))
            diff = config_diff(folder / CONFIG_FILE, text)
            if not options.dry_run:
                replace_text(folder / CONFIG_FILE, text)
    if options.json:
        print_json(
            {"frontier": frontier(measured), "chosen": chosen, "now": measured[0].setting,
             "is_written": chosen is not None and not options.dry_run, "picture": picture}
        )  # fmt: skip
    else:
        print_tuning(measured, chosen, bound)
        print(f"\n{diff}" if diff else "")
        print(_outcome(folder, chosen, is_dry_run=options.dry_run))
        print(f"drawn in {picture}")
    return FAILURE if chosen is None else OK


def _measure(folder: Path, config: ModelConfig, options: argparse.Namespace) -> list[Measurement]:
    """Try settings until all are tried or the time is up; the first is the one in force."""
    from eyespot.cli.tune_load import loaded_model
    from eyespot.cli.tune_search import space_of

    start = _start(config, folder)
    largest = options.max_batch_size or config.max_batch_size
    if options.max_batch_size and not config.max_batch_size:
        raise UsageError(f"--max-batch-size: requests of {folder.name} never join in a batch")
    cores = len(os.sched_getaffinity(0))
    space = space_of(cores, largest, options.max_latency_ms)
    with (
        tempfile.TemporaryDirectory() as logs,
        loaded_model(folder.parent, folder.name, log=Path(logs) / "server.log") as model,
        showing_progress() as tell,
    ):
        return _try_all(model, config, start, space, options, tell)


def _try_all(
    model: LoadedModel,
    config: ModelConfig,
    start: Setting,
    space: Space,
    options: argparse.Namespace,
    tell: Callable[[str], None],
) -> list[Measurement]:
    from eyespot.cli.tune_config import tuned
    from eyespot.cli.tune_search import best_setting, measure_levels, settings_to_try

    bound = options.max_latency_ms
    seconds = min(max(options.seconds / (_LEVELS * space.size), _SHORTEST), _LONGEST)
    end = time.monotonic() + options.seconds
    measured: list[Measurement] = []
    best = lambda: best_setting(measured, bound)  # noqa: E731 - of what will be measured
    for number, setting in enumerate(settings_to_try(start, space, best), 1):
        left = end - time.monotonic()
        if measured and left <= 0:
            tell_line(f"the time is up after {number - 1} of about {space.size} settings")
            break
        tell(f"setting {number} of about {space.size}: {setting}; {max(left, 0):.0f} s left")
        try:
            model.load(tuned(config, setting) if measured else config)
        except CommandError as error:
            if not measured:
                raise
            tell_line(f"left out: {setting}: {error}")
            continue
        measure_at = _measuring(model, setting, seconds)
        measured += measure_levels(measure_at, bound)
    return measured


def _measuring(
    model: LoadedModel, setting: Setting, seconds: float
) -> Callable[[int], Measurement]:
    return lambda clients: model.measure(setting, clients, seconds=seconds)


def _start(config: ModelConfig, folder: Path) -> Setting:
    from eyespot.cli.tune_config import setting_of
    from eyespot.server.config import ServerConfig

    defaults = ServerConfig(repository=folder.parent)
    return setting_of(
        config,
        default_sessions=defaults.concurrent_batches,
        default_threads=defaults.intra_op_num_threads,
    )


def _model_folder(options: argparse.Namespace) -> Path:
    folder = Path(options.model)
    if options.repository is not None:
        folder = options.repository / options.model
    folder = folder.absolute()
    if (folder / CONFIG_FILE).is_file():
        return folder
    there = sorted(path.parent.name for path in folder.parent.glob(f"[!.]*/{CONFIG_FILE}"))
    inside = sorted(path.parent.name for path in folder.glob(f"[!.]*/{CONFIG_FILE}"))
    if inside:
        raise CommandError(f"{folder} is a repository; name one of its models: {', '.join(inside)}")
    hint = f"; there are: {', '.join(there)}" if there else ""
    raise CommandError(f"there is no {CONFIG_FILE} in {folder}{hint}")


def _read_config(folder: Path) -> ModelConfig:
    from eyespot.server.errors import RepositoryError
    from eyespot.server.model_config import read_config

    with telling(RepositoryError):
        file = read_config(folder)
    assert file is not None  # it was there a moment ago
    return file.message


def _outcome(folder: Path, chosen: Measurement | None, *, is_dry_run: bool) -> str:
    if chosen is None:
        return f"no setting answers {folder.name} in time; {CONFIG_FILE} is as it was"
    file = folder / CONFIG_FILE
    told = f"would be written to {file}" if is_dry_run else f"written to {file}"
    return f"{told}: {chosen.setting}"
