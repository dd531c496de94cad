"""Smaller and quicker versions of a model: INT8, half precision, INT8 weights, optimised ahead."""

from eyespot.exporter.quantisation.agreement import Agreement
from eyespot.exporter.quantisation.conversion import convert, optimise
from eyespot.exporter.quantisation.derive import Derived
from eyespot.exporter.quantisation.picture import draw_sensitivities
from eyespot.exporter.quantisation.processor import PROCESSORS, scheme_for, this_processor
from eyespot.exporter.quantisation.quantiser import CALIBRATORS, METHODS
from eyespot.exporter.quantisation.quantize import Quantised, quantize
from eyespot.exporter.quantisation.recipe import Recipe
from eyespot.exporter.quantisation.sensitivity import Sensitivity

__all__ = [
    "CALIBRATORS",
    "METHODS",
    "PROCESSORS",
    "Agreement",
    "Derived",
    "Quantised",
    "Recipe",
    "Sensitivity",
    "convert",
    "draw_sensitivities",
    "optimise",
    "quantize",
    "scheme_for",
    "this_processor",
]
