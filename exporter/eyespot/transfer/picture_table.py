"""A CSV of pictures: their paths, their labels and, if it likes, which part each belongs to.

With a header the columns are found by name, in any order: `path` (or `file`, `filename`, `image`),
`label` (or `labels`, `class`) and, if there is one, `split`: `train` or `val` (or `validation`, or
`test`). Without a header they are path, label and, where there is a third, split. Paths are
relative to the CSV. A picture of several classes names them with semicolons between, and one of
none at all leaves the label empty.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from eyespot.transfer.errors import ExamplesError
from eyespot.transfer.picture_listing import HELD_OUT, Listed, Listing
from eyespot.v1.picture_files import FORMATS

_TRAIN = "train"
_BETWEEN = ";"
_NAMES = {
    "path": ("path", "file", "filename", "image"),
    "label": ("label", "labels", "class"),
    "split": ("split",),
}
_SHOWN = 5


@dataclass(frozen=True)
class _Row:
    line: int
    path: str
    classes: tuple[str, ...]
    split: str | None


def list_table(path: Path, *, multi_label: bool = False) -> Listing:
    """List the pictures of a CSV, in its order; the classes are in alphabetical order.

    Args:
        path: Of the CSV, in UTF-8.
        multi_label: Whether a picture may have any number of classes.

    Raises:
        ExamplesError: It cannot be read, or a label or a column is missing, or a split is unknown.
    """
    rows = _read(path, multi_label)
    labels = tuple(sorted({name for row in rows for name in row.classes}))
    learnt = [row for row in rows if row.split in (None, _TRAIN)]
    held_out = next((part for part in HELD_OUT if any(row.split == part for row in rows)), None)
    measured = [row for row in rows if row.split == held_out]
    folder = path.parent
    return Listing(
        labels,
        _listed(folder, learnt),
        None if held_out is None else _listed(folder, measured),
    )


def _listed(folder: Path, rows: Sequence[_Row]) -> tuple[Listed, ...]:
    return tuple(
        Listed(row.path, row.classes, partial(Image.open, folder / row.path, formats=FORMATS))
        for row in rows
    )


def _read(path: Path, multi_label: bool) -> list[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            cells = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except OSError as error:
        raise ExamplesError(f"{path} cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ExamplesError(f"{path.name} is no CSV in UTF-8: {error}") from error
    cells = [(line, row) for line, row in cells if any(row)]
    if not cells:
        raise ExamplesError(f"{path.name} is empty: a line for each picture is expected")
    columns, has_header = _columns(cells[0][1], path.name)
    rows = [_row(line, row, columns, multi_label) for line, row in cells[has_header:]]
    _check(rows, path.name, multi_label)
    return rows


def _columns(first: list[str], file_name: str) -> tuple[dict[str, int], bool]:
    """Tell which column is which, and whether the first line says so."""
    found = {
        column: number
        for column, names in _NAMES.items()
        for number, cell in enumerate(first)
        if cell.lower() in names
    }
    if not found:
        if len(first) not in (2, 3):
            raise ExamplesError(
                f"{file_name} has {len(first)} columns and no header: path and label are "
                "expected, and split if there is a third"
            )
        return dict(zip(_NAMES, range(len(first)), strict=False)), False
    missing = [column for column in ("path", "label") if column not in found]
    if missing:
        raise ExamplesError(
            f"{file_name} has no column {' and no column '.join(missing)}: "
            f"its header is {', '.join(first)}"
        )
    return found, True


def _row(line: int, row: list[str], columns: dict[str, int], multi_label: bool) -> _Row:
    def cell(column: str) -> str:
        number = columns[column]
        return row[number] if number < len(row) else ""

    label = cell("label")
    classes = label.split(_BETWEEN) if multi_label else [label]
    return _Row(
        line=line,
        path=cell("path"),
        classes=tuple(dict.fromkeys(name.strip() for name in classes if name.strip())),
        split=cell("split").lower() if "split" in columns else None,
    )


def _check(rows: list[_Row], file_name: str, multi_label: bool) -> None:
    nameless = [row for row in rows if not row.path]
    if nameless:
        raise ExamplesError(f"{file_name} has no path in {_lines(nameless)}")
    unlabelled = [row for row in rows if not row.classes and not multi_label]
    if unlabelled:
        raise ExamplesError(
            f"{file_name} has no label in {_lines(unlabelled)}: name the class, or take the "
            "picture out"
        )
    strange = [row for row in rows if row.split not in (None, _TRAIN, *HELD_OUT)]
    if strange:
        raise ExamplesError(
            f"{file_name} has the split {strange[0].split!r} in {_lines(strange)}: one of "
            f"{', '.join((_TRAIN, *HELD_OUT))} is expected"
        )
    labelled: dict[str, _Row] = {}
    for row in rows:
        other = labelled.setdefault(row.path, row)
        if other.classes != row.classes:
            raise ExamplesError(
                f"{file_name} gives {row.path} two labels, in {_lines([other, row])}: for "
                f"several classes of a picture write them in one line, as a{_BETWEEN}b, and say "
                "multi_label (--multi-label)"
            )


def _lines(rows: Sequence[_Row]) -> str:
    lines = ", ".join(str(row.line) for row in rows[:_SHOWN])
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"line{'s' if len(rows) > 1 else ''} {lines}{more}"
