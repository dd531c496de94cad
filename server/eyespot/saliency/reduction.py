"""How the channels of an attribution become one map."""

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.errors import ReductionError

REDUCTIONS = ("none", "max", "mean")


def check_reduction(how: str, channel_axis: int | None) -> None:
    """Check that there is such a reduction, and channels to reduce.

    Raises:
        ReductionError: if not, with what there is.
    """
    if how not in REDUCTIONS:
        raise ReductionError(
            f"unknown channel reduction {how!r}; expected one of {', '.join(REDUCTIONS)}"
        )
    if how != "none" and channel_axis is None:
        raise ReductionError(
            f"channel reduction {how!r} needs a channel axis, and the input has none; ask for none"
        )


def reduce_channels(
    attributions: NDArray[np.float32], how: str, channel_axis: int | None
) -> NDArray[np.float32]:
    """Reduce the channel axis to size 1, or leave it as it is.

    Args:
        attributions: in the input's axis order, rows first.
        how: "max": the largest magnitude (Simonyan et al. 2014); "mean": the signed mean;
            "none": all channels, signed.
        channel_axis: counted with the rows' axis; None when there are no channels.

    Raises:
        ReductionError: there is no such reduction, or no such axis.
    """
    check_reduction(how, channel_axis)
    if how == "none" or channel_axis is None:
        return attributions
    reduced: NDArray[np.float32]  # (B, C, ...) -> (B, 1, ...), wherever the channels are
    if how == "max":
        reduced = np.abs(attributions).max(axis=channel_axis, keepdims=True)
    else:
        reduced = attributions.mean(axis=channel_axis, keepdims=True, dtype=np.float32)
    return reduced
