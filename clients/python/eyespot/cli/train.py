"""`eyespot train`: a network of the zoo and a data set in, a file of weights out."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.cli.argument_types import at_least_one
from eyespot.cli.errors import telling
from eyespot.cli.output import add_json_argument, print_json
from eyespot.cli.progress import showing_progress

if TYPE_CHECKING:
    from eyespot.transfer import EpochReport

_DATA = ("digits",)
_SECONDS_BETWEEN_EPOCHS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="network of the zoo (see `eyespot models`)")
    parser.add_argument(
        "--data",
        required=True,
        choices=_DATA,
        help="what to learn: digits are the 1,797 handwritten ones that scikit-learn ships",
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
        "--threads",
        type=at_least_one,
        metavar="N",
        help="that compute (default PyTorch's choice); 1 is best for small networks",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default 0)")
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Train, write the weights, and print the accuracy on a held-out fifth."""
    with showing_progress() as tell:
        tell("loading PyTorch")
        import torch

        from eyespot.transfer import TransferError, load_digits, save_weights, train_zoo_model
        from eyespot.zoo import ZooError

        if options.threads is not None:
            torch.set_num_threads(options.threads)
        with telling(TransferError, ZooError):
            split = load_digits()
            tell(f"training {options.model} on {len(split.train):,} pictures")
            trained = train_zoo_model(
                options.model,
                split.train,
                held_out=split.test,
                epochs=options.epochs,
                learning_rate=options.learning_rate,
                seed=options.seed,
                progress=_teller(tell),
            )
            training = {
                "data": options.data,
                "epochs": options.epochs,
                "learning_rate": options.learning_rate,
                "seed": options.seed,
                "accuracy": trained.accuracy,
            }
            save_weights(
                trained.network,
                options.output,
                training={name: str(value) for name, value in training.items()},
            )
    if options.json:
        losses, seconds = trained.result.losses, trained.result.seconds
        print_json({"output": options.output, **training, "losses": losses, "seconds": seconds})
    else:
        print(f"trained {options.model} in {trained.result.seconds:.1f} s to {options.output}")
        print(f"{trained.accuracy:.2%} right on {len(split.test)} pictures held out")
    return 0


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
