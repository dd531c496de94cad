"""A folder of pictures, one folder for each class: `FOLDER/<class>/<picture>`.

Where there are `FOLDER/train/<class>/` and `FOLDER/val/<class>/` (or `validation/`, or `test/`),
that split is taken as it is. What lies beside them is passed over: `test/` beside `val/` is there
for a last measurement.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PIL import Image

from eyespot.transfer.errors import ExamplesError
from eyespot.transfer.picture_listing import HELD_OUT, Listed, Listing
from eyespot.v1.picture_files import FORMATS


def list_folder(folder: Path) -> Listing:
    """List the pictures of a folder, class by class in alphabetical order.

    Raises:
        ExamplesError: It cannot be read, has fewer than two classes, or a split of other classes
            on either side.
    """
    train = folder / "train"
    found = [folder / name for name in HELD_OUT if (folder / name).is_dir()]
    if not train.is_dir() or not found:
        classes = _classes_of(folder)
        return Listing(tuple(path.name for path in classes), _listed(folder, classes))
    learnt, measured = _classes_of(train), _classes_of(found[0])
    labels = tuple(path.name for path in learnt)
    differing = sorted(set(labels) ^ {path.name for path in measured})
    if differing:
        raise ExamplesError(
            f"{train.name}/ and {found[0].name}/ must have the same classes; "
            f"only one has {', '.join(differing)}"
        )
    return Listing(labels, _listed(folder, learnt), _listed(folder, measured))


def _classes_of(folder: Path) -> list[Path]:
    try:
        folders = sorted(
            path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
    except OSError as error:
        raise ExamplesError(f"{folder} cannot be read: {error.strerror}") from error
    if len(folders) < 2:
        raise ExamplesError(
            f"{folder} must have a folder of pictures for each class, two at least; "
            f"found {', '.join(path.name for path in folders) or 'none'}"
        )
    return folders


def _listed(root: Path, classes: list[Path]) -> tuple[Listed, ...]:
    return tuple(
        Listed(
            path.relative_to(root).as_posix(),
            (folder.name,),
            partial(Image.open, path, formats=FORMATS),
        )
        for folder in classes
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    )
