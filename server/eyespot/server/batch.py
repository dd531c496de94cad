"""Requests joined into one batch and its results taken apart again: rows, no clock."""

from collections.abc import Mapping, Sequence

import numpy as np


def concatenate(requests: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join the inputs of several requests row by row, in their order.

    A lone request is handed through without a copy.

    Raises:
        ValueError: if the requests do not name the same inputs; the batcher's
            key must have kept them apart.
    """
    first = requests[0]
    if len(requests) == 1:
        return dict(first)
    for request in requests[1:]:
        if request.keys() != first.keys():
            raise ValueError(
                f"requests with inputs {sorted(first)} and {sorted(request)} cannot share a batch"
            )
    return {name: _join([request[name] for request in requests]) for name in first}


def split(outputs: Mapping[str, np.ndarray], rows: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Give each request its own rows of every output, as views.

    Args:
        outputs: what the session answered for the whole batch.
        rows: how many rows each request brought, in the batch's order.

    Raises:
        RuntimeError: if an output has not one row for each row of the inputs.
    """
    total = sum(rows)
    for name, output in outputs.items():
        found = output.shape[0] if output.ndim else "no"
        if found != total:
            raise RuntimeError(
                f"results must number inputs: output '{name}' of shape {list(output.shape)} "
                f"has {found} rows for {total} rows of input"
            )
    if len(rows) == 1:
        return [dict(outputs)]
    parts: list[dict[str, np.ndarray]] = []
    start = 0
    for count in rows:
        parts.append({name: output[start : start + count] for name, output in outputs.items()})
        start += count
    return parts


def _join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Rows (B, ...) one after the other in memory.

    Beside a view of one row many times, NumPy itself would put the rows innermost: what runs the
    batch then had to turn it over first, which takes longer than the run.
    """
    shape = (sum(map(len, arrays)), *arrays[0].shape[1:])
    return np.concatenate(arrays, out=np.empty(shape, arrays[0].dtype))
