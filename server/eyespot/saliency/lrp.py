"""Layer-wise relevance propagation.

Bach, Binder, Montavon, Klauschen, Müller, Samek: On Pixel-Wise Explanations for Non-Linear
Classifier Decisions by Layer-Wise Relevance Propagation. PLOS ONE 2015, section 2.3; with
the rules of Montavon, Binder, Lapuschkin, Samek, Müller: Layer-Wise Relevance Propagation:
An Overview. 2019, section 10.2: gamma in convolutions, epsilon in dense layers.

Epsilon is a share of the root mean square of a layer's outputs in the row, as the overview's
own example has it. Gamma applies to convolutions of what is not negative, as its derivation
asks; the first one, of signed inputs, has epsilon. Biases take their share of the relevance. A
constant that shifts or scales the input, as a normalisation does, leaves the relevance as it
is.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.attribution import (
    Attribution,
    Method,
    ParameterSpec,
    ParameterValue,
    constant_cost,
    without_reports,
)
from eyespot.saliency.backend import Backend
from eyespot.saliency.objective import Objective


def attribute_lrp(
    backend: Backend,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Attribution:
    """How the score is shared out, layer by layer, among the elements of the input."""
    epsilon, gamma = float(parameters["epsilon"]), float(parameters["gamma"])
    found = backend.relevance(x, objective, epsilon=epsilon, gamma=gamma)
    return without_reports(found, found.gradients)


LRP = Method(
    name="lrp",
    paper="Bach, Binder, Montavon, Klauschen, Müller, Samek 2015",
    parameters=(
        ParameterSpec(
            "epsilon",
            "double",
            0.25,
            "damps what contradicts itself; a share of the scale of a layer's outputs",
            minimum=0,
        ),
        ParameterSpec("gamma", "double", 0.25, "how far positive weights are favoured", minimum=0),
    ),
    function=attribute_lrp,
    cost=constant_cost(4),
    scores=("logit",),
    check_backend=lambda backend: backend.check_relevance(),
)
