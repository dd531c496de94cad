"""Vanilla gradients.

Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks: Visualising Image
Classification Models and Saliency Maps. ICLR workshop 2014, arXiv 1312.6034, section 3.

The attributions are the raw, signed derivatives dS_c/dx. The paper's picture of them, the
largest magnitude over the channels, is `reduce_channels(..., "max")`.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.attribution import Attribution, Method, ParameterValue
from eyespot.saliency.backend import Backend


def attribute_saliency(
    backend: Backend,
    x: NDArray[np.generic],
    targets: NDArray[np.int64],
    score: str,
    parameters: Mapping[str, ParameterValue],
) -> Attribution:
    """The derivative of each row's score with respect to the row; takes no parameters."""
    found = backend.gradients(x, targets, score=score)
    return Attribution(
        attributions=found.gradients,
        targets=found.targets,
        scores=found.scores,
        logits=found.logits,
        reports=[{} for _ in range(len(x))],
    )


SALIENCY = Method(
    name="saliency",
    paper="Simonyan, Vedaldi, Zisserman 2014",
    parameters=(),
    function=attribute_saliency,
)
