"""What commands print: text for people, JSON for machines."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from eyespot.v1.plain_values import plain

# What lies between has more digits before the point than are told, and not too many.
_LONG_FROM, _LONG_TO = 999.5, 1e9


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Let the user ask for JSON."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def print_json(value: Any) -> None:
    """Print records, mappings and lists of them as one JSON document."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False))


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns; those that hold numbers only are set flush right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    is_numeric = [
        bool(rows) and all(isinstance(value, int | float) or value is None for value in column)
        for column in zip(*rows, strict=True)
    ] or [False] * len(heads)
    for line in (list(heads), *cells):
        columns = zip(line, widths, is_numeric, strict=True)
        set_text = (
            text.rjust(width) if right else text.ljust(width) for text, width, right in columns
        )
        print("  ".join(set_text).rstrip())


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
