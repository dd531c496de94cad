"""`eyespot train`: a network of the zoo and pictures in, a file of weights out."""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.cli.argument_types import at_least_one, seed
from eyespot.cli.errors import OK, telling
from eyespot.cli.output import add_json_argument, print_json
from eyespot.cli.progress import showing_progress
from eyespot.cli.read_pictures import counting_pictures, tell_of_split
from eyespot.cli.zoo_names import check_network

if TYPE_CHECKING:
    from eyespot.transfer import EpochReport, PictureSplit
    from eyespot.v1.preprocessing import PreprocessingRule

_DIGITS = "digits"
_SECONDS_BETWEEN_EPOCHS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="network of the zoo (see `eyespot models`)")
    parser.add_argument(
        "data",
        metavar="DATA",
        help="folder with a folder of pictures for each class (or with train/ and val/ of such "
        "folders), CSV of paths and labels, or .npz of images and labels; "
        f"{_DIGITS}: the 1,797 handwritten digits that scikit-learn ships",
    )
    parser.add_argument(
        "--output", required=True, metavar="FILE", type=Path, help="safetensors file to write"
    )
    parser.add_argument(
        "--epochs",
        type=at_least_one,
        default=30,
        metavar="N",
        help="passes over the data (default 30)",
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=5e-3,
        metavar="RATE",
        help="at its peak (default 0.005)",
    )
    parser.add_argument(
        "--input-size", type=at_least_one, metavar="PIXELS", help="height and width of the input"
    )
    parser.add_argument("--channels", type=int, choices=(1, 3), help="1 for grey, 3 for colour")
    parser.add_argument(
        "--threads",
        type=at_least_one,
        metavar="N",
        help="that compute (default PyTorch's choice); 1 is best for small networks",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of all that is random (default 0)")
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Train, write the weights, and print the accuracy on what was held out."""
    check_network(options.model)
    with showing_progress() as tell:
        tell("loading PyTorch")
        import torch

        from eyespot.exporter import ExportError
        from eyespot.transfer import TransferError, save_weights, train_zoo_model, training_rule
        from eyespot.zoo import ZooError

        if options.threads is not None:
            torch.set_num_threads(options.threads)
        shape = {"in_channels": options.channels, "input_size": options.input_size}
        with telling(TransferError, ZooError, ExportError):
            split = _load(options, training_rule(options.model, **shape), tell)
            tell(f"training {options.model} on {len(split.train):,} pictures")
            trained = train_zoo_model(
                options.model,
                split.train,
                held_out=split.held_out,
                epochs=options.epochs,
                learning_rate=options.learning_rate,
                seed=options.seed,
                progress=_teller(tell),
                **shape,
            )
            training = {
                "data": Path(options.data).name,
                "epochs": options.epochs,
                "learning_rate": options.learning_rate,
                "seed": options.seed,
                "accuracy": trained.accuracy,
            }
            save_weights(
                trained.network,
                options.output,
                training={
                    **{name: str(value) for name, value in training.items()},
                    "labels": json.dumps(split.labels, ensure_ascii=False),
                },
            )
    if options.json:
        losses, seconds = trained.result.losses, trained.result.seconds
        print_json(
            {
                "output": options.output,
                **training,
                "labels": split.labels,
                "held_out": len(split.held_out),
                "skipped": split.skipped,
                "repeated": split.repeated,
                "losses": losses,
                "seconds": seconds,
            }
        )
    else:
        print(f"trained {options.model} in {trained.result.seconds:.1f} s to {options.output}")
        print(f"{trained.accuracy:.2%} right on {len(split.held_out)} pictures held out")
        command = _export_command(options, len(split.labels))
        print(f"to serve it, with the names of its classes: {command}")
    return OK


def _load(
    options: argparse.Namespace, rule: PreprocessingRule, tell: Callable[[str], None]
) -> PictureSplit:
    """Read what is learnt, and tell what is the matter with it."""
    from eyespot.transfer import PictureSplit, load_data, load_digits
    from eyespot.transfer.digits import LABELS

    if options.data == _DIGITS:
        digits = load_digits()
        return PictureSplit(digits.train.prepared(rule), digits.test.prepared(rule), LABELS)
    tell(f"reading the pictures in {options.data}")
    split = load_data(options.data, rule, seed=options.seed, progress=counting_pictures(tell))
    tell_of_split(split)
    return split


def _export_command(options: argparse.Namespace, classes: int) -> str:
    words = ["eyespot", "export", options.model, "--weights", str(options.output)]
    words += ["--num-classes", str(classes)]
    if options.input_size is not None:
        words += ["--input-size", str(options.input_size)]
    if options.channels is not None:
        words += ["--channels", str(options.channels)]
    return shlex.join([*words, "--output", "repository"])


def _teller(
    tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic
) -> Callable[[EpochReport], None]:
    """Tell of an epoch now and then: small networks have several in a second."""
    told = clock()

    def tell_epoch(report: EpochReport) -> None:
        nonlocal told
        if clock() - told >= _SECONDS_BETWEEN_EPOCHS:
            told = clock()
            tell(
                f"epoch {report.epoch} of {report.epochs}: loss {report.loss:.3g}, "
                f"{report.accuracy:.1%} right, {report.seconds_left:.0f} s left"
            )

    return tell_epoch
