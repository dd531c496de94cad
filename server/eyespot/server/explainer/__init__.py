"""Saliency of one model version: the server's only door to the saliency room and to torch."""

from eyespot.saliency import Backend, SessionScorer, Targets
from eyespot.saliency.graph_backend import RunGraph
from eyespot.server.explainer.call import ExplainCall, Explained
from eyespot.server.explainer.explainer import Explainer
from eyespot.server.explainer.gradient_graph import load_gradient_graphs
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
    "RunGraph",
    "SessionScorer",
    "Targets",
    "load_gradient_graphs",
    "load_original",
    "methods_without_explainer",
    "sample_rows",
    "verify_original",
]
