"""The `baseline` parameter: the input that stands for nothing to be seen."""

from eyespot.saliency.attribution import ParameterSpec

BASELINE = ParameterSpec(
    "baseline",
    "double",
    0.0,
    "the value, in the input's own unit, of an element that says nothing",
)
