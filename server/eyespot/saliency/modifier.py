"""The `modifier` parameter: how the article's pictures, after keras-vis, let gradients pass."""

from eyespot.saliency.attribution import ParameterSpec, ParameterValue
from eyespot.saliency.backend import Rectifier

_RULES: dict[ParameterValue, Rectifier] = {
    "none": "derivative",
    "guided": "guided",
    "relu": "deconvnet",
}

MODIFIER = ParameterSpec(
    "modifier",
    "string",
    "none",
    "none: the derivative; guided: positive gradients through positive activations; "
    "relu: positive gradients only",
    choices=("none", "guided", "relu"),
)


def rule_of(modifier: ParameterValue) -> Rectifier:
    """How gradients pass rectifiers under a modifier."""
    return _RULES[modifier]
