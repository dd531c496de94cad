"""Pictures to learn from and pictures to measure with, and what is known of both."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from eyespot.transfer.examples import Examples


@dataclass(frozen=True, eq=False)
class PictureSplit:
    """Pictures to train on, and pictures that training never sees.

    Attributes:
        labels: Names of the classes, by index.
        skipped: Name and reason of each file that is no usable picture.
        repeated: Held-out pictures whose very pixels are among those to train on: with them
            a figure measured on the held-out ones flatters.
        train_names: What each picture to train on is called: its path below the data, or its row.
        held_out_names: The same of those held out.
    """

    train: Examples
    held_out: Examples
    labels: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    train_names: tuple[str, ...] = ()
    held_out_names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"PictureSplit({len(self.train)} to train on, {len(self.held_out)} held out, "
            f"{len(self.labels)} classes)"
        )

    @property
    def is_multi_label(self) -> bool:
        """Whether a picture may have any number of classes."""
        return self.train.is_multi_label

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that is learnt from and measured with: pixels, classes, their names."""
        found = hashlib.sha256(json.dumps(self.labels).encode())
        for examples in (self.train, self.held_out):
            found.update(examples.digest.encode())
            found.update(examples.labels.tobytes())
        return found.hexdigest()
