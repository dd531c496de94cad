"""The protocol's classification extension: the largest values of an output as texts.

A text is "value:index" or "value:index:label", as the clients of Triton take it apart.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eyespot.server.errors import InvalidArgumentError


def classify(
    output: NDArray[np.generic], count: int, labels: Sequence[str], *, is_batched: bool
) -> NDArray[np.object_]:
    """Ranks the elements of each row, the largest first.

    Args:
        output: (B, ...) where it is batched; the sizes behind are taken as one.
        count: Most texts for a row; a row with fewer elements has as many as it has.
        labels: By index; the rest have none.
        is_batched: Whether the first size counts rows.

    Returns:
        (B, count), or (count,) where it is not batched.

    Raises:
        InvalidArgumentError: the output holds no numbers.
    """
    if output.dtype.kind not in "iufb":
        raise InvalidArgumentError("classification needs an output of numbers, not of texts")
    rows = output.reshape(len(output) if is_batched else 1, -1)  # -> (B, elements)
    order = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]
    texts = np.empty(order.shape, object)
    for place in np.ndindex(order.shape):
        index = int(order[place])
        value = rows[place[0], index]
        label = f":{labels[index]}" if index < len(labels) else ""
        texts[place] = f"{_number(value)}:{index}{label}".encode()
    return texts if is_batched else texts[0]


def _number(value: np.generic) -> str:
    return f"{value:f}" if value.dtype.kind == "f" else str(int(value))
