"""DeepLIFT by the rescale rule.

Shrikumar, Greenside, Kundaje: Learning Important Features Through Propagating Activation
Differences. ICML 2017, arXiv 1704.02685, sections 3.1 to 3.5.1.

The score is a logit or a difference of logits, as the paper advises. A max pool shares its
difference out as Captum's does.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.attribution import (
    Attribution,
    Method,
    ParameterValue,
    constant_cost,
)
from eyespot.saliency.backend import Backend, to_float
from eyespot.saliency.baseline import BASELINE
from eyespot.saliency.objective import Objective


def attribute_deep_lift(
    backend: Backend,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Attribution:
    """What each element's difference from the baseline contributes to the score's."""
    inputs = to_float(x)
    baselines = np.full_like(inputs, parameters["baseline"])
    found = backend.multipliers(inputs, baselines, objective)
    assert found.baseline_scores is not None
    difference = np.repeat(inputs - baselines, objective.per_row(len(x)), axis=0)  # (N, ...)
    attributions = (found.gradients * difference).astype(np.float32, copy=False)
    total = attributions.reshape(len(attributions), -1).sum(1, dtype=np.float64)
    deltas = total - (found.scores.astype(np.float64) - found.baseline_scores)
    reports = [{"convergence_delta": delta} for delta in deltas.tolist()]
    return Attribution(attributions, found.classes, found.scores, reports)


DEEP_LIFT = Method(
    name="deep_lift",
    paper="Shrikumar, Greenside, Kundaje 2017",
    parameters=(BASELINE,),
    function=attribute_deep_lift,
    cost=constant_cost(6),
    scores=("logit",),
    check_backend=lambda backend: backend.check_multipliers(),
)
