"""Rows in as many requests as the model's batches need, each loaded when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from eyespot.client.pictures import Picture, loader
from eyespot.client.values import ModelConfig
from eyespot.v1.tensors import Array


@dataclass(frozen=True)
class RowBatch:
    """Some of the rows of one call, still to be loaded."""

    start: int
    stop: int
    load: Callable[[], Array]


def row_batches(rows: Sequence[Picture | Array], config: ModelConfig) -> Iterator[RowBatch]:
    """Cut rows into batches that the model takes."""
    size = max(config.max_batch_size, 1)
    if config.preprocessing is not None and config.preprocessing.size is None:
        size = 1  # each picture keeps a size of its own
    for start in range(0, len(rows), size):
        stop = min(start + size, len(rows))
        yield RowBatch(
            start, stop, loader(rows[start:stop], config.preprocessing, model_name=config.name)
        )
