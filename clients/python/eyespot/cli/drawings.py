"""The folder that a command draws into: made when the first drawing is there."""

from __future__ import annotations

import argparse
from pathlib import Path

from eyespot.cli.errors import CommandError


def add_drawings_argument(parser: argparse.ArgumentParser) -> None:
    """Let the user name the folder."""
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        type=Path,
        help="folder for the drawings; those that have the same name are replaced",
    )


class DrawingFolder:
    """Gives drawings their files, no two alike, though pictures of several folders may be.

    Raises:
        CommandError: It is no folder, or cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise CommandError(f"{folder} is no folder: drawings cannot be written there")
        self._folder = folder
        self._used: dict[str, int] = {}

    def file_for(self, picture: str, what: str) -> Path:
        """Name the file for the drawing of one picture, in a folder that is there."""
        stem = f"{Path(picture).stem}-{what}"
        number = self._used[stem] = self._used.get(stem, 0) + 1
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CommandError(f"{self._folder} cannot be made: {reason}") from error
        return self._folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
