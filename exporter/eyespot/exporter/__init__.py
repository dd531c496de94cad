"""From a PyTorch module to a model repository, with proof that the two agree."""

from eyespot.exporter.add import AddResult, add_model
from eyespot.exporter.check import CheckResult, check_repository
from eyespot.exporter.errors import (
    CaptureError,
    ExportError,
    LabelsError,
    ModelTooLargeError,
    OnnxError,
    OriginalError,
    ParityError,
    PreprocessingFitError,
    RepositoryError,
)
from eyespot.exporter.export import ExportResult, export
from eyespot.exporter.inspect import Entry, inspect_entry
from eyespot.exporter.whole_zoo import ZooRow, export_zoo
from eyespot.exporter.zoo_export import export_zoo_model, export_zoo_parts

__all__ = [
    "AddResult",
    "CaptureError",
    "CheckResult",
    "Entry",
    "ExportError",
    "ExportResult",
    "LabelsError",
    "ModelTooLargeError",
    "OnnxError",
    "OriginalError",
    "ParityError",
    "PreprocessingFitError",
    "RepositoryError",
    "ZooRow",
    "add_model",
    "check_repository",
    "export",
    "export_zoo",
    "export_zoo_model",
    "export_zoo_parts",
    "inspect_entry",
]
