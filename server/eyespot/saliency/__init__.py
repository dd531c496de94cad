"""Saliency: which elements of the input made the network say so; arrays over a backend."""

from eyespot.saliency.attribution import (
    Attribution,
    Method,
    ParameterSpec,
    ParameterValue,
    Step,
)
from eyespot.saliency.backend import (
    Backend,
    Gradients,
    Layer,
    LinearHead,
    RandomisableBackend,
    Scorer,
)
from eyespot.saliency.errors import (
    ArgumentError,
    LayerError,
    MemoryBoundError,
    OriginalError,
    ParameterError,
    ReductionError,
    SaliencyError,
    TargetError,
    UnavailableMethodError,
    UnknownMethodError,
    UnknownScoreError,
    UnsafeOriginalError,
)
from eyespot.saliency.graph_backend import GradientGraphSet, GraphBackend
from eyespot.saliency.methods import METHODS, find_method
from eyespot.saliency.objective import (
    SCORES,
    TOP_CLASS,
    Objective,
    Targets,
    check_score,
    class_count,
    join_targets,
)
from eyespot.saliency.original_file import check_original
from eyespot.saliency.reduction import REDUCTIONS, check_reduction, reduce_channels
from eyespot.saliency.refinement import (
    Found,
    Refinement,
    Rows,
    ask_each,
    compute_together,
)
from eyespot.saliency.session_scorer import SessionScorer

__all__ = [
    "METHODS",
    "REDUCTIONS",
    "SCORES",
    "TOP_CLASS",
    "ArgumentError",
    "Attribution",
    "Backend",
    "Found",
    "GradientGraphSet",
    "Gradients",
    "GraphBackend",
    "Layer",
    "LayerError",
    "LinearHead",
    "MemoryBoundError",
    "Method",
    "Objective",
    "OriginalError",
    "ParameterError",
    "ParameterSpec",
    "ParameterValue",
    "RandomisableBackend",
    "ReductionError",
    "Refinement",
    "Rows",
    "SaliencyError",
    "Scorer",
    "SessionScorer",
    "Step",
    "TargetError",
    "Targets",
    "UnavailableMethodError",
    "UnknownMethodError",
    "UnknownScoreError",
    "UnsafeOriginalError",
    "ask_each",
    "check_original",
    "check_reduction",
    "check_score",
    "class_count",
    "compute_together",
    "find_method",
    "join_targets",
    "reduce_channels",
]
