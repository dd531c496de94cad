"""Labels: one line of UTF-8 for each class, in the order of the logits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from eyespot.exporter.errors import LabelsError
from eyespot.v1.labels import split_labels


def read_labels(path: Path) -> tuple[str, ...]:
    """Read the labels of a file.

    Raises:
        LabelsError: It cannot be read, is no UTF-8, or has an empty line among the labels.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LabelsError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelsError(f"{path.name} is not UTF-8 (byte {error.start})") from error
    return check_labels(split_labels(text))


def check_labels(labels: Sequence[str], *, classes: int | None = None) -> tuple[str, ...]:
    """Check that labels can be written one a line, and count the classes.

    Raises:
        LabelsError: They cannot, or do not.
    """
    for number, label in enumerate(labels, start=1):
        if not label.strip() or len(label.splitlines()) != 1:
            raise LabelsError(f"label {number} is {label!r}: one line of text is expected")
    if classes is not None and len(labels) != classes:
        raise LabelsError(f"{len(labels)} labels for {classes} classes: one for each is expected")
    return tuple(labels)


def repetition_notes(labels: Sequence[str]) -> tuple[str, ...]:
    """Tell which labels name several classes: they are no mistake, but cannot be asked for."""
    return tuple(
        f"label {label!r} names {count} classes"
        for label, count in Counter(labels).items()
        if count > 1
    )


def write_labels(labels: Sequence[str], path: Path) -> None:
    """Write labels as the server reads them."""
    path.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
