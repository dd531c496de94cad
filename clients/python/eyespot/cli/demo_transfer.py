"""`eyespot demo --transfer`: five pictures of each digit, and a network that knows other shapes.

The table is the point: the same network on the same pictures, from the backbone and from scratch.
What is there already is used again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.cli.demo_steps import (
    ending_on_sigterm,
    explain_one_of_each,
    run_command,
    show_command,
    show_title,
)
from eyespot.cli.errors import CommandError, telling
from eyespot.cli.output import print_table
from eyespot.cli.progress import showing_progress
from eyespot.cli.server_process import running_server
from eyespot.client import EyespotError

if TYPE_CHECKING:
    from eyespot.transfer.digit_transfer import Gain

_MODEL = "digits-5-to-9"
_SEEDS = range(3)
_LEAST_POINTS = 5


@dataclass(frozen=True)
class _Places:
    """Where the demo leaves what it makes."""

    folder: Path

    @property
    def weights(self) -> Path:
        return self.folder / "backbone.safetensors"

    @property
    def pictures(self) -> Path:
        return self.folder / "five-of-each"

    @property
    def unseen(self) -> Path:
        return self.folder / "unseen"

    @property
    def repository(self) -> Path:
        return self.folder / "repository"


def run_transfer(folder: Path) -> int:
    """Pre-train, compare with training from scratch, fine-tune, export, serve, explain."""
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.transfer import TransferError

    places = _Places(folder)
    with ending_on_sigterm(), telling(EyespotError, TransferError, OSError):
        folder.mkdir(parents=True, exist_ok=True)
        _pretrain(places)
        _compare(places)
        _fine_tune(places)
        _serve(places)
    return 0


def _pretrain(places: _Places) -> None:
    from eyespot.transfer.digit_transfer import NETWORK, pretrain

    show_title(f"Train a backbone, {NETWORK}, on the digits 0 to 4 and on letters of fonts")
    if places.weights.exists():
        print(f"{places.weights} is there already")
        return
    with showing_progress() as tell:
        accuracy = pretrain(
            places.weights,
            progress=lambda report: tell(
                f"epoch {report.epoch} of {report.epochs}, {report.seconds_left:.0f} s left"
            ),
        )
    print(f"{accuracy:.2%} right on digits 0 to 4 held out; wrote {places.weights}")


def _compare(places: _Places) -> None:
    from eyespot.transfer.digit_transfer import measure_gain

    show_title("Five pictures of each of the digits 5 to 9: from scratch, and from the backbone")
    gains = []
    with showing_progress() as tell:
        for seed in _SEEDS:
            tell(f"training twice on choice {seed + 1} of {len(_SEEDS)}")
            gains.append(measure_gain(places.weights, seed=seed))
    rows = [_row(str(gain.seed), [gain]) for gain in gains]
    print_table(("SEED", "FROM SCRATCH", "FINE-TUNED", "POINTS"), [*rows, _row("mean", gains)])
    print("accuracy on the digits 5 to 9 that neither has seen; no picture is varied for either")
    if min(gain.points for gain in gains) < _LEAST_POINTS:
        raise CommandError(f"the backbone should be good for {_LEAST_POINTS} points at least")


def _row(name: str, gains: list[Gain]) -> tuple[str, str, str, str]:
    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    return (
        name,
        f"{mean([gain.scratch for gain in gains]):.1%}",
        f"{mean([gain.transfer for gain in gains]):.1%}",
        f"{mean([gain.points for gain in gains]):+.1f}",
    )


def _fine_tune(places: _Places) -> None:
    from eyespot.transfer.digit_transfer import LABELS, SETTINGS, few_digits, unseen_digits

    show_title("The same on the command line: fine-tune, and export with proof")
    split = few_digits(seed=_SEEDS[0])
    for folder, examples in (
        (places.pictures / "train", split.train),
        (places.pictures / "val", split.held_out),
        (places.unseen, unseen_digits()),
    ):
        examples.save_by_class(folder, LABELS)
    settings = [
        word for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", value)
    ]
    run_command(
        *("finetune", places.pictures, "--weights", places.weights, *settings, "--temperature"),
        *("--output", places.repository, "--name", _MODEL, "--folder", places.folder / _MODEL),
    )


def _serve(places: _Places) -> None:
    from eyespot.transfer.digit_transfer import LABELS

    show_title("Serve it, and ask about the digits that it has never seen")
    show_command("serve", places.repository, "--port", "0")
    with running_server(places.repository, log=places.folder / "server.log") as server:
        run_command("evaluate", _MODEL, places.unseen, "--server", server.address)
        show_title("Ask which pixels decided")
        pictures = {label: min((places.unseen / label).iterdir()) for label in LABELS}
        explain_one_of_each(
            server.address, _MODEL, pictures, sheet=places.folder / "contact-sheet.png"
        )
        server.stop()
    print(f"\nwhat was learnt, and from what: {places.folder / _MODEL / 'report.html'}")
