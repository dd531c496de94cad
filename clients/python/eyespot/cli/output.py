"""What commands print: text for people, JSON for machines."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from eyespot.v1.plain_values import plain

# What lies between has more digits before the point than are told, and not too many.
_LONG_FROM, _LONG_TO = 999.5, 1e9
_GAP = "  "  # between columns


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Let the user ask for JSON."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def print_json(value: Any) -> None:
    """Print records, mappings and lists of them as one JSON document."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False))


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[object]], *, dispensable: Sequence[str] = ()
) -> None:
    """Print columns; those that hold numbers only are set flush right.

    Args:
        heads: Of the columns.
        rows: Of cells, of which None is a dash.
        dispensable: Heads of columns that a terminal does without where the table is wider, the
            least missed first. Elsewhere they are always there.
    """
    by_column = zip(*rows, strict=True) if rows else [()] * len(heads)
    columns = [_column(head, cells) for head, cells in zip(heads, by_column, strict=True)]
    left_out = _too_many(columns, dispensable) if sys.stdout.isatty() else []
    shown = [column for column in columns if column[0].strip() not in left_out]
    for line in zip(*shown, strict=True):
        print(_GAP.join(line).rstrip())
    if left_out:
        print(f"without {', '.join(left_out)}, for want of room; --json has all")


def _column(head: str, cells: Sequence[object]) -> list[str]:
    """Set a column, the head first; each text has its width."""
    texts = [head, *map(_cell, cells)]
    width = max(map(len, texts))
    is_numeric = bool(cells) and all(isinstance(c, int | float) or c is None for c in cells)
    return [text.rjust(width) if is_numeric else text.ljust(width) for text in texts]


def _too_many(columns: Sequence[Sequence[str]], dispensable: Sequence[str]) -> list[str]:
    """The heads of columns without which the rest fits, or all where it does not even then."""
    widths = [(head.strip(), len(head)) for head, *_ in columns]
    room = shutil.get_terminal_size().columns
    left_out: Sequence[str] = ()
    for count in range(len(dispensable) + 1):
        left_out = dispensable[:count]
        kept = [width for head, width in widths if head not in left_out]
        if sum(kept) + len(_GAP) * (len(kept) - 1) <= room:
            break
    return [head for head, _ in widths if head in left_out]


def print_facts(facts: Mapping[str, object]) -> None:
    """Print names and values below each other; a value of None or '' is left out."""
    told = {name: value for name, value in facts.items() if value not in (None, "")}
    width = max(map(len, told))
    for name, value in told.items():
        first, *others = str(value).splitlines()
        print(f"{name:{width}}  {first}")
        for line in others:
            print(f"{'':{width}}  {line}")


def counted(number: int, thing: str, things: str = "") -> str:
    """Write how many there are: "1 batch", "2 batches"."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def number_text(value: float) -> str:
    """Write three digits of a number, "1,780" and not "1.78e+03"."""
    text = f"{value:.3g}"
    return f"{float(text):,.0f}" if _LONG_FROM <= abs(value) < _LONG_TO else text


def class_text(index: int, label: str) -> str:
    """Write a class by its label and its index, which some labels are."""
    if not label:
        return f"class {index}"
    return label if label == str(index) else f"{label} ({index})"


def shape_text(shape: Sequence[int | str]) -> str:
    """Write a shape, with dynamic dimensions by their names."""
    return "(" + ", ".join(map(str, shape)) + ")"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
