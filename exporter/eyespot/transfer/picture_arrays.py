"""A `.npz` of pictures: `images` UINT8 (N, H, W) or (N, H, W, C), and `labels`.

Labels are whole numbers or texts (N,), or rows of 0 and 1 (N, K) where a picture may have several
classes. `names` (K,) may name the classes. A part that is held out may stand beside as
`val_images` and `val_labels`; `x_train`, `y_train`, `x_test` and `y_test` are known too.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.transfer.errors import ExamplesError
from eyespot.transfer.examples import picture_of
from eyespot.transfer.picture_listing import Listed, Listing

_LEARNT = (("images", "labels"), ("train_images", "train_labels"), ("x_train", "y_train"))
_MEASURED = (("val_images", "val_labels"), ("test_images", "test_labels"), ("x_test", "y_test"))
_NAMES = "names"


def list_arrays(path: Path, *, multi_label: bool = False) -> Listing:
    """List the pictures of a `.npz`, in its order.

    Args:
        path: Of the file; nothing in it is unpickled.
        multi_label: Whether a picture may have any number of classes.

    Raises:
        ExamplesError: It cannot be read, or its arrays are none of pictures and labels.
    """
    arrays = _read(path)
    learnt = _pair(arrays, _LEARNT)
    if learnt is None:
        raise ExamplesError(
            f"{path.name} has no arrays images and labels; of those known here it has "
            f"{', '.join(arrays) or 'none'}"
        )
    measured = _pair(arrays, _MEASURED)
    parts = [part for part in (learnt, measured) if part is not None]
    for part in parts:
        _check(arrays, part, path.name, multi_label)
    names = _names(arrays, [arrays[labels] for _, labels in parts], path.name)
    return Listing(
        names,
        _listed(arrays, learnt, names, ""),
        None if measured is None else _listed(arrays, measured, names, "held-out "),
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    known = {_NAMES, *(name for pair in _LEARNT + _MEASURED for name in pair)}
    try:
        # Opened here: a file that is no archive would be left open by the reader.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            return {name: archive[name] for name in archive.files if name in known}
    except OSError as error:
        raise ExamplesError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, MemoryError, zipfile.BadZipFile, AttributeError) as error:
        raise ExamplesError(
            f"{path.name} is no whole .npz of numbers and texts: {error}"
        ) from error


def _pair(
    arrays: Mapping[str, NDArray[Any]], known: tuple[tuple[str, str], ...]
) -> tuple[str, str] | None:
    return next((pair for pair in known if all(name in arrays for name in pair)), None)


def _check(
    arrays: Mapping[str, NDArray[Any]], pair: tuple[str, str], file_name: str, multi_label: bool
) -> None:
    images, labels = (arrays[name] for name in pair)
    is_picture = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (1, 3))
    if images.dtype != np.uint8 or not is_picture:
        raise ExamplesError(
            f"{pair[0]} of {file_name} must be uint8 of shape (N, H, W) or (N, H, W, 1 or 3), "
            f"found {images.dtype} of shape {images.shape}"
        )
    expected = "rows of 0 and 1 (N, K)" if multi_label else "whole numbers or texts (N,)"
    fits = labels.ndim == 2 if multi_label else labels.ndim == 1 and labels.dtype.kind in "iuU"
    if (
        not fits
        or len(labels) != len(images)
        or (multi_label and not np.isin(labels, (0, 1)).all())
    ):
        raise ExamplesError(
            f"{pair[1]} of {file_name} must be {expected}, one for each of the {len(images)} "
            f"images; found {labels.dtype} of shape {labels.shape}"
        )


def _names(
    arrays: Mapping[str, NDArray[Any]], labels: list[NDArray[Any]], file_name: str
) -> tuple[str, ...]:
    """Name the classes by index: as the file does, or by their numbers or texts."""
    told = tuple(str(name) for name in arrays[_NAMES]) if _NAMES in arrays else None
    if labels[0].ndim == 2:
        needed = labels[0].shape[1]
        names = told or tuple(str(index) for index in range(needed))
    elif labels[0].dtype.kind == "U":
        names = told or tuple(str(name) for name in np.unique(np.concatenate(labels)))
        unknown = sorted({str(name) for part in labels for name in part} - set(names))
        if unknown:
            raise ExamplesError(f"{_NAMES} of {file_name} lacks {', '.join(unknown[:5])}")
        return names
    else:
        found = np.unique(np.concatenate(labels))
        if found.size and found[0] < 0:
            raise ExamplesError(f"labels of {file_name} are class indices from 0, found {found[0]}")
        needed = int(found[-1]) + 1 if found.size else 0
        names = told or tuple(str(index) for index in range(needed))
    if len(names) < needed:
        raise ExamplesError(
            f"{file_name} names {len(names)} classes, and its labels tell of {needed}"
        )
    return names


def _listed(
    arrays: Mapping[str, NDArray[Any]], pair: tuple[str, str], names: tuple[str, ...], prefix: str
) -> tuple[Listed, ...]:
    images, labels = (arrays[name] for name in pair)
    if images.ndim == 3:
        images = images[..., None]  # (N, H, W) -> (N, H, W, 1)
    return tuple(
        Listed(f"{prefix}row {row}", _classes(labels[row], names), partial(picture_of, images[row]))
        for row in range(len(images))
    )


def _classes(label: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    if np.ndim(label):  # (K,)
        return tuple(name for name, has in zip(names, label, strict=True) if has)
    return (str(label),) if isinstance(label, str) else (names[int(label)],)
