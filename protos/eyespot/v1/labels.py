"""Labels as text: a class a line."""

from __future__ import annotations


def split_labels(text: str) -> tuple[str, ...]:
    """Take the lines apart; empty ones at the end name no class."""
    return tuple(line.strip() for line in text.rstrip().split("\n"))
