"""The folder that a command writes its files into: made when the first of them is there."""

from __future__ import annotations

import argparse
from pathlib import Path

from eyespot.cli.errors import CommandError


def add_drawings_argument(parser: argparse.ArgumentParser) -> None:
    """Let the user name the folder for drawings; there need be none for JSON."""
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="folder for the drawings; those that have the same name are replaced",
    )


class OutputFolder:
    """Gives what is made of pictures its files, no two alike, though pictures may share names.

    Raises:
        CommandError: It is no folder, or cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise CommandError(f"{folder} is no folder: files cannot be written there")
        self._folder = folder
        self._used: dict[str, int] = {}

    def file_for(self, picture: str, what: str, suffix: str) -> Path:
        """Name the file for what is made of one picture, in a folder that is there."""
        stem = f"{Path(picture).stem}-{what}"
        number = self._used[stem] = self._used.get(stem, 0) + 1
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CommandError(f"{self._folder} cannot be made: {reason}") from error
        return self._folder / (f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}")
