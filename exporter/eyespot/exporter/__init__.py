"""From a PyTorch module to a model repository, with proof that the two agree."""

from eyespot.exporter.add import AddResult, add_model
from eyespot.exporter.check import CheckResult, check_model, check_repository
from eyespot.exporter.compare import ComparedNetwork, EntryPlace, compare_networks
from eyespot.exporter.comparison_picture import draw_comparison
from eyespot.exporter.effective_field import EffectiveField, effective_field
from eyespot.exporter.errors import (
    CalibrationError,
    CaptureError,
    DerivationError,
    ExportError,
    InputSizeError,
    LabelsError,
    LayerNameError,
    ModelTooLargeError,
    NotWorthwhileError,
    OnnxError,
    OriginalError,
    ParityError,
    PreprocessingFitError,
    RepositoryError,
)
from eyespot.exporter.export import ExportResult, export
from eyespot.exporter.field_measurement import measure_entry, measure_zoo_model
from eyespot.exporter.field_picture import draw_effective_field
from eyespot.exporter.inspect import Entry, entry_program, inspect_entry
from eyespot.exporter.layers import Layer, LayerTable, SeenField, layer_table
from eyespot.exporter.published_errors import PUBLISHED_ERRORS, PublishedError
from eyespot.exporter.tracing import trace, trace_zoo_model
from eyespot.exporter.whole_zoo import ZooRow, export_zoo
from eyespot.exporter.zoo_export import export_zoo_model, export_zoo_parts

__all__ = [
    "PUBLISHED_ERRORS",
    "AddResult",
    "CalibrationError",
    "CaptureError",
    "CheckResult",
    "ComparedNetwork",
    "DerivationError",
    "EffectiveField",
    "Entry",
    "EntryPlace",
    "ExportError",
    "ExportResult",
    "InputSizeError",
    "LabelsError",
    "Layer",
    "LayerNameError",
    "LayerTable",
    "ModelTooLargeError",
    "NotWorthwhileError",
    "OnnxError",
    "OriginalError",
    "ParityError",
    "PreprocessingFitError",
    "PublishedError",
    "RepositoryError",
    "SeenField",
    "ZooRow",
    "add_model",
    "check_model",
    "check_repository",
    "compare_networks",
    "draw_comparison",
    "draw_effective_field",
    "effective_field",
    "entry_program",
    "export",
    "export_zoo",
    "export_zoo_model",
    "export_zoo_parts",
    "inspect_entry",
    "layer_table",
    "measure_entry",
    "measure_zoo_model",
    "trace",
    "trace_zoo_model",
]
