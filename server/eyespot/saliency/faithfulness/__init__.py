"""Faithfulness: do the maps of a method show what the network goes by?"""

from eyespot.saliency.faithfulness.evaluation import (
    RANDOM_PATCHES,
    RANDOM_PIXELS,
    Evaluation,
    Faithfulness,
    MethodToEvaluate,
    evaluate_faithfulness,
)
from eyespot.saliency.faithfulness.pointing_game import Objects

__all__ = [
    "RANDOM_PATCHES",
    "RANDOM_PIXELS",
    "Evaluation",
    "Faithfulness",
    "MethodToEvaluate",
    "Objects",
    "evaluate_faithfulness",
]
