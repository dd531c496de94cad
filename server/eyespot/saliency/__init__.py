"""Saliency: which elements of the input made the network say so; arrays over a backend."""

from eyespot.saliency.attribution import Attribution, Method, ParameterSpec, ParameterValue
from eyespot.saliency.backend import (
    SCORES,
    TOP_CLASS,
    Backend,
    Gradients,
    check_score,
    check_targets,
)
from eyespot.saliency.errors import (
    ArgumentError,
    OriginalError,
    ParameterError,
    ReductionError,
    SaliencyError,
    TargetError,
    UnknownMethodError,
    UnknownScoreError,
    UnsafeOriginalError,
)
from eyespot.saliency.methods import METHODS, find_method
from eyespot.saliency.original_file import check_original
from eyespot.saliency.reduction import REDUCTIONS, check_reduction, reduce_channels

__all__ = [
    "METHODS",
    "REDUCTIONS",
    "SCORES",
    "TOP_CLASS",
    "ArgumentError",
    "Attribution",
    "Backend",
    "Gradients",
    "Method",
    "OriginalError",
    "ParameterError",
    "ParameterSpec",
    "ParameterValue",
    "ReductionError",
    "SaliencyError",
    "TargetError",
    "UnknownMethodError",
    "UnknownScoreError",
    "UnsafeOriginalError",
    "check_original",
    "check_reduction",
    "check_score",
    "check_targets",
    "find_method",
    "reduce_channels",
]
