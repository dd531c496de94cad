"""Saliency of one model version: the server's only door to the saliency room and to torch."""

from eyespot.saliency import Backend, SessionScorer, Targets
from eyespot.server.explainer.call import ExplainCall, Explained
from eyespot.server.explainer.explainer import Explainer
from eyespot.server.explainer.methods import (
    LayerStatus,
    MethodStatus,
    methods_without_explainer,
)
from eyespot.server.explainer.original import load_original, sample_rows, verify_original

__all__ = [
    "Backend",
    "ExplainCall",
    "Explained",
    "Explainer",
    "LayerStatus",
    "MethodStatus",
    "SessionScorer",
    "Targets",
    "load_original",
    "methods_without_explainer",
    "sample_rows",
    "verify_original",
]
