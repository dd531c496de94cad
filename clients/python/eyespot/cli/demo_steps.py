"""What the demos are made of: commands that are shown and run, and a sheet of explanations."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from eyespot.cli import main
from eyespot.cli.errors import INTERRUPTED, CommandError
from eyespot.cli.progress import showing_progress
from eyespot.client import Client
from eyespot.client.contact_sheet import draw_contact_sheet

# Of one answer, among as many as there are pictures, on a machine that has more to do.
_TIMEOUT_SECONDS = 120.0


def show_title(text: str) -> None:
    """Print what comes next."""
    print(f"\n== {text}", flush=True)


def run_unless(is_there: bool, made: Path, *words: object) -> None:
    """Run a command of ours, or show the one that has made what is there already."""
    if is_there:
        print(f"{made} is there already; without it, this would run:")
        show_command(*words)
    else:
        run_command(*words)


def run_command(*words: object) -> None:
    """Show a command line of ours, and run it here: PyTorch is loaded once."""
    show_command(*words)
    exit_code = main.main([str(word) for word in words])
    if exit_code == INTERRUPTED:
        raise KeyboardInterrupt
    if exit_code != 0:
        raise CommandError(f"the demo ends here: `eyespot {words[0]}` failed")


def show_command(*words: object) -> None:
    """Show a command line of ours, as the user can type it."""
    print(f"$ {shlex.join([_program(), *map(str, words)])}", flush=True)


def explain_one_of_each(
    address: str, model: str, pictures: Mapping[str, Path], *, sheet: Path
) -> None:
    """Ask which pixels decided in pictures of each class, and draw them on one sheet.

    Args:
        address: Of the server.
        model: Its name.
        pictures: By what they are in truth.
        sheet: File to write.
    """
    paths = list(pictures.values())
    with showing_progress() as tell, Client(address, timeout=_TIMEOUT_SECONDS) as client:
        tell(f"explaining {len(paths)} pictures")
        answers = [best for [best] in client.classify(model, paths, top_k=1)]
        explanations = client.explain(model, paths)
    captions = [
        f"{answer.label}  ({answer.probability:.1%})"
        + ("" if answer.label == truth else f", in truth {truth}")
        for answer, truth in zip(answers, pictures, strict=True)
    ]
    draw_contact_sheet(explanations, captions=captions, title="Which pixels decided").save(sheet)
    print(f"drew {sheet}")


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does: with the server stopped."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _program() -> str:
    """How the user can call what runs here: a virtual environment may not be on the path."""
    beside = Path(sys.executable).with_name("eyespot")
    if shutil.which("eyespot") or not beside.exists():
        return "eyespot"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
