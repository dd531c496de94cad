"""Files and folders that a command line names, looked at before PyTorch is loaded.

What is in them is judged by the room that reads it.
"""

from __future__ import annotations

from pathlib import Path

from eyespot.cli.errors import CommandError

_WEIGHT_FILES = (".bin", ".ckpt", ".pt", ".pth", ".safetensors", ".tar", ".th")


def check_files(*paths: Path | None) -> None:
    """Make sure that files can be read.

    Raises:
        CommandError: One cannot, and why.
    """
    for path in paths:
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CommandError(f"{path} cannot be read: {reason}") from error


def check_picture_folder(path: Path | None) -> None:
    """Make sure that a folder of pictures is there.

    Raises:
        CommandError: It is not.
    """
    if path is not None and not path.is_dir():
        raise CommandError(f"{path} is no folder: a folder of pictures is expected")


def check_weights(told: str | None) -> None:
    """Make sure that weights are there, where a file is meant and no published name.

    Raises:
        CommandError: The file cannot be read, and why.
    """
    if told is not None and ("/" in told or told.lower().endswith(_WEIGHT_FILES)):
        check_files(Path(told).expanduser())


def check_place_of_picture(path: Path | None) -> None:
    """Make sure that a picture can be put where it is wanted.

    Raises:
        CommandError: The folder is not there.
    """
    if path is not None and not path.absolute().parent.is_dir():
        raise CommandError(f"{path} cannot be written: there is no folder {path.parent}")
