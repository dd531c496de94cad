"""`eyespot demo`: from handwritten digits to the pixels that decided, in one go.

It runs the other commands and shows each command line, so that one can run it again by hand.
What is there already is used again.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.cli.argument_types import at_least_one
from eyespot.cli.demo_steps import (
    ending_on_sigterm,
    run_command,
    run_unless,
    show_command,
    show_title,
)
from eyespot.cli.errors import CommandError, telling
from eyespot.cli.output import counted
from eyespot.cli.progress import showing_progress
from eyespot.cli.server_process import running_server
from eyespot.client import AsyncClient, Classification, Client, EyespotError
from eyespot.client.contact_sheet import draw_contact_sheet
from eyespot.client.method_sheet import draw_method_sheet
from eyespot.v1.sha256 import sha256_of

if TYPE_CHECKING:
    from eyespot.transfer import Examples

_NETWORK, _MODEL = "lenet5_modern", "digits"  # of rectifiers, which some methods are about
# The columns of the second sheet, by the names that `eyespot explain --method` takes: what is also
# saliency under keras-vis's three modifiers, and two other families.
_METHODS = ("saliency", "guided_backprop", "deconvnet", "grad_cam", "integrated_gradients")
# Of one answer, among as many as there are pictures, on a machine that has more to do.
_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class _Places:
    """Where the demo leaves what it makes."""

    folder: Path

    @property
    def weights(self) -> Path:
        return self.folder / f"{_NETWORK}.safetensors"

    @property
    def labels(self) -> Path:
        return self.folder / "labels.txt"

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def contact_sheet(self) -> Path:
        return self.folder / "contact-sheet.png"

    @property
    def method_sheet(self) -> Path:
        return self.folder / "methods-sheet.png"

    @property
    def server_log(self) -> Path:
        return self.folder / "server.log"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--transfer",
        action="store_true",
        help="teach a network that knows letters and the digits 0 to 4 the others, from five of "
        "each, and hold it against one from scratch",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder (default demo, or demo-transfer)",
    )
    parser.add_argument(
        "--epochs", type=at_least_one, default=30, metavar="N", help="of the training (default 30)"
    )


def run(options: argparse.Namespace) -> int:
    """Train, export, serve, classify, explain."""
    if options.transfer:
        from eyespot.cli.demo_transfer import run_transfer

        return run_transfer(options.output or Path("demo-transfer"))
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.transfer import TransferError, load_digits

    places = _Places(options.output or Path("demo"))
    with ending_on_sigterm(), telling(EyespotError, TransferError, OSError):
        digits = load_digits().test
        pictures = digits.save_pictures(places.pictures)
        _train(places, epochs=options.epochs)
        _export(places)
        show_title("Serve it")
        show_command("serve", places.repository, "--port", "0")
        with running_server(places.repository, log=places.server_log) as server:
            print(f"serving on {server.address}, logging to {places.server_log}")
            answers = _classify(server.address, pictures)
            _compare(answers, digits, places.weights)
            _explain(server.address, digits, pictures, answers, places)
            server.stop()
            print("\nthe server has ended with exit code 0")
        _evaluate(digits, pictures, places)
    _tell_what_next(places, pictures[0])
    return 0


def _train(places: _Places, *, epochs: int) -> None:
    show_title(
        "Train LeNet-5, with the rectifiers of today, on handwritten digits; a fifth is held out"
    )
    command = ("train", _NETWORK, "digits", "--output", places.weights, "--threads", "1")
    run_unless(places.weights.exists(), places.weights, *command, "--epochs", epochs)


def _export(places: _Places) -> None:
    show_title("Export it to ONNX, and prove that nothing changed")
    from eyespot.transfer.digits import LABELS

    places.labels.write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    entry = places.repository / _MODEL
    is_there = _is_exported(places)
    command = ("export", _NETWORK, "--weights", places.weights, "--labels", places.labels)
    run_unless(is_there, entry, *command, "--name", _MODEL, "--output", places.repository)
    if is_there:
        run_command("inspect", entry)


def _is_exported(places: _Places) -> bool:
    """Whether the latest version was made of these very weights."""
    from eyespot.exporter import ExportError, inspect_entry

    try:
        entry = inspect_entry(places.repository, _MODEL)
    except ExportError:
        return False
    return entry.provenance.weights_sha256 == sha256_of(places.weights)


def _classify(address: str, pictures: Sequence[Path]) -> list[Classification]:
    """Ask about every picture in a request of its own, all at once."""
    show_title(f"Classify the {len(pictures)} held-out digits, each in a request of its own")

    async def ask() -> list[Classification]:
        async with AsyncClient(address, timeout=_TIMEOUT_SECONDS) as client:
            await client.model_metadata(_MODEL)  # or every call would ask
            await client.model_config(_MODEL)
            calls = [client.classify(_MODEL, picture, top_k=1) for picture in pictures]
            start = time.monotonic()
            answers = await asyncio.gather(*calls)
            seconds = time.monotonic() - start
            print(f"{len(pictures) / seconds:,.0f} images/s from {len(pictures)} requests at once")
            return [best for [[best]] in answers]

    answers = asyncio.run(ask())
    with Client(address) as client:
        [statistics] = client.statistics(_MODEL)
    alone = statistics.batch_counts.get(1, 0)
    most = "; LeNet is quicker than requests arrive, so most ran alone"
    print(
        f"the server ran them in {counted(statistics.execution_count, 'batch', 'batches')}"
        f"{most if alone > statistics.inference_count / 2 else ''}"
    )
    return answers


def _compare(answers: Sequence[Classification], digits: Examples, weights: Path) -> None:
    """Compare what was served with PyTorch's own answers to the same pictures."""
    from eyespot.exporter.preprocessed import Preprocessed
    from eyespot.transfer import predict
    from eyespot.zoo import create_model, model_entry

    network = create_model(_NETWORK, weights=weights)
    rule = model_entry(_NETWORK).preprocessing
    assert rule is not None  # LeNet-5 takes pictures
    original = Preprocessed(network, rule).eval()
    expected = predict(original, digits.images).argmax(axis=1).tolist()
    served = [answer.index for answer in answers]
    labels = digits.labels.tolist()
    print(f"accuracy  {_share_alike(served, labels):.2%} served")
    print(f"          {_share_alike(expected, labels):.2%} in PyTorch")
    if served != expected:
        differing = sum(a != b for a, b in zip(served, expected, strict=True))
        raise CommandError(f"{differing} of {len(served)} served answers are not PyTorch's")
    print(f"the answers to all {len(served)} are the same")


def _explain(
    address: str,
    digits: Examples,
    pictures: Sequence[Path],
    answers: Sequence[Classification],
    places: _Places,
) -> None:
    """Explain one picture of each class."""
    show_title("Ask which pixels decided, for one picture of each digit")
    labels = digits.labels.tolist()
    chosen = _one_of_each(digits)
    paths = [pictures[number] for number in chosen]
    captions = [_caption(answers[number], labels[number]) for number in chosen]
    with showing_progress() as tell, Client(address, timeout=_TIMEOUT_SECONDS) as client:
        tell(f"explaining {len(chosen)} pictures")
        explanations = client.explain(_MODEL, paths)
        columns = []
        for method in _METHODS:
            tell(f"explaining them by {method}")
            columns.append(client.explain(_MODEL, paths, method=method))
    sheet = draw_contact_sheet(explanations, captions=captions, title="Which pixels decided")
    sheet.save(places.contact_sheet)
    print(f"drew {places.contact_sheet}")
    draw_method_sheet(
        list(zip(*columns, strict=True)),
        row_captions=[answers[number].label for number in chosen],
        column_captions=_METHODS,
        title="Five ways to ask: eyespot explain --method NAME",
        subtitle="each row explains the class that was chosen; the first three are also saliency "
        "with modifier=none, guided and relu",
    ).save(places.method_sheet)
    print(f"drew {places.method_sheet}")


def _evaluate(digits: Examples, pictures: Sequence[Path], places: _Places) -> None:
    """Measure how faithful the maps are, on one picture of each class."""
    show_title("Measure how faithful such maps are; this needs no server")
    chosen = [pictures[number] for number in _one_of_each(digits)]
    entry = places.repository / _MODEL
    run_command("evaluate-saliency", entry, *chosen, "--output", places.folder, "--threads", "1")


def _one_of_each(digits: Examples) -> list[int]:
    """The first picture of each class."""
    labels = digits.labels.tolist()
    return [labels.index(label) for label in sorted(set(labels))]


def _caption(answer: Classification, label: int) -> str:
    truth = "" if answer.index == label else f", in truth {label}"
    return f"{answer.label}  ({answer.probability:.1%}){truth}"


def _tell_what_next(places: _Places, picture: Path) -> None:
    show_title("Now you")
    show_command("serve", places.repository)
    print("and meanwhile, in another terminal:")
    show_command("status")
    show_command("infer", picture, "--model", _MODEL)
    explain = ("explain", picture, "--model", _MODEL, "--output", places.folder / "explained")
    show_command(*explain)
    show_command(*explain, "--method", _METHODS[-1])


def _share_alike(ours: Sequence[int], theirs: Sequence[int]) -> float:
    return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)
