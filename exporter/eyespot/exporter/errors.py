"""What can go wrong between a module and a served model version.

ExportError (ValueError)
├── CaptureError            the module cannot be captured: not traceable, a fixed batch, live
│   │                       dropout or batch norm, a state that changes, a foreign input
│   └── InputSizeError      the input is smaller than the module can take
├── PreprocessingFitError   the rule gives other pixels than the network takes
├── LabelsError             the labels cannot be read, or do not count the classes
├── OnnxError               the ONNX graph cannot be made, checked or opened
│   └── ModelTooLargeError  the graph alone takes more than protobuf holds
├── GradientError           the gradient cannot be written as a graph: by which operator
├── LayerNameError          the network has no layer of that name; the nearest is said
├── OriginalError           original.pt2 is damaged, or holds what is not read from a file
├── ParityError             the two artefacts disagree: by how much, in which output
├── DerivationError         a version cannot be made from another: it is quantised already,
│   │                       has no manifest, or an operator is not known
│   ├── CalibrationError    the pictures are too few, or of another domain
│   └── NotWorthwhileError  what was made is too far from its source, or slower
└── RepositoryError         a bad name, or an entry that stands in the way
"""

from __future__ import annotations


class ExportError(ValueError):
    """A model version could not be written; nothing of it was left behind."""


class CaptureError(ExportError):
    """The module cannot be captured as one program that serves any batch."""


class InputSizeError(CaptureError):
    """The input is smaller than the module can take; the smallest is said."""


class PreprocessingFitError(ExportError):
    """The preprocessing rule does not fit the network's input."""


class LabelsError(ExportError):
    """The labels cannot be read or are not as many as the classes."""


class OnnxError(ExportError):
    """The ONNX model cannot be made, is not valid, or cannot be opened."""


class ModelTooLargeError(OnnxError):
    """The graph does not fit into one ONNX file of 2 GiB, even without its weights."""


class GradientError(ExportError):
    """The gradient cannot be written as an ONNX graph; names the operator that is in the way."""


class LayerNameError(ExportError):
    """The network has no such layer, or it holds no spatial maps."""


class OriginalError(ExportError):
    """The captured program on disk cannot be read, or cannot be trusted."""


class ParityError(ExportError):
    """ONNX Runtime and the PyTorch original do not agree."""


class DerivationError(ExportError):
    """A version cannot be made from another one."""


class CalibrationError(DerivationError):
    """The pictures to calibrate on are too few, or are not what the network knows."""


class NotWorthwhileError(DerivationError):
    """What was made is less exact than was asked for, or slower than what it was made from."""


class RepositoryError(ExportError):
    """The model repository cannot take the version."""
