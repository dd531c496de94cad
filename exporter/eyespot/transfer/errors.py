"""What can go wrong between pictures and trained weights.

TransferError (ValueError)
├── ExamplesError             pictures and labels that nothing can be trained on
├── HeadError                 the classifier of a network is not found, or cannot be replaced
├── BackboneError             what is asked for cannot be had as a backbone
├── SettingsError             epochs, batch size or learning rate that cannot be
├── DivergedError             the loss is no number any more
├── CheckpointError           the weights cannot be written
├── MetricsError              logits and labels that nothing can be measured of
├── ReportError               the report cannot be written
├── EvaluationError           the model and the data do not fit each other
└── MissingScikitLearnError   scikit-learn, which ships the digits, is absent
"""

from __future__ import annotations


class TransferError(ValueError):
    """Training was asked for something that it cannot do."""


class ExamplesError(TransferError):
    """Pictures and labels do not fit each other, or the network."""


class HeadError(TransferError):
    """The classifier of a network cannot be found, or cannot be replaced."""


class BackboneError(TransferError):
    """The network asked for cannot be fine-tuned as it is, or is not what it should be."""


class SettingsError(TransferError):
    """A setting of the training is out of its range."""


class DivergedError(TransferError):
    """The loss became infinite or no number: the weights are worthless."""


class CheckpointError(TransferError):
    """The file of the weights cannot be written."""


class MetricsError(TransferError):
    """Logits, labels and names do not fit each other, or are no numbers."""


class ReportError(TransferError):
    """The files of the report cannot be written."""


class EvaluationError(TransferError):
    """A model cannot be measured on these data: it has other classes, or none."""


class MissingScikitLearnError(TransferError):
    """The package that ships the digits is not installed."""
