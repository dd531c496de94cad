"""Files and folders that a command line names, looked at before PyTorch is loaded.

What is in them is judged by the room that reads it.
"""

from __future__ import annotations

from pathlib import Path

from eyespot.cli.errors import CommandError
from eyespot.cli.output import counted
from eyespot.cli.zoo_names import NETWORKS, PUBLISHED
from eyespot.v1.labels import split_labels

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


def check_label_file(path: Path | None) -> None:
    """Make sure that a file of labels can be read.

    Raises:
        CommandError: It cannot, and why.
    """
    if path is not None and path.is_dir():
        raise CommandError(f"{path} is a folder: a text file, one class a line, is expected")
    check_files(path)


def check_labels(path: Path | None, *, classes: int) -> None:
    """Make sure that a file has a label for each class.

    Raises:
        CommandError: It has not, or cannot be read, and why.
    """
    check_label_file(path)
    if path is None:
        return
    try:
        count = len(split_labels(path.read_text(encoding="utf-8-sig")))
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not UTF-8 (byte {error.start})") from error
    if count != classes:
        raise CommandError(
            f"{path} has {counted(count, 'label')} for {counted(classes, 'class', 'classes')}: "
            "one for each is expected, and --num-classes tells how many there are"
        )


def check_weights(told: str | None, *, network: str) -> None:
    """Make sure that weights are there: a file, or what may be a published name.

    Args:
        told: Of the weights.
        network: Of the zoo, or a repository entry.

    Raises:
        CommandError: The file cannot be read, and why; or nothing is published for the network.
    """
    if told is None:
        return
    path = Path(told).expanduser()
    if "/" in told or told.lower().endswith(_WEIGHT_FILES):
        check_files(path)
    elif network in NETWORKS and network not in PUBLISHED and not path.exists():
        raise CommandError(
            f"weights {told!r} is no file; {network} has no published weights, give a file"
        )


def check_place_of_picture(path: Path | None) -> None:
    """Make sure that a drawing can be put where it is wanted, under a name that says what it is.

    Raises:
        CommandError: The folder is not there, or the name is not that of a PNG.
    """
    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise CommandError(f"{path} would be a PNG: a name that ends in .png is expected")
    if not path.absolute().parent.is_dir():
        raise CommandError(f"{path} cannot be written: there is no folder {path.parent}")
