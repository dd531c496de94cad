"""Training networks on pictures: data in, a trained module and its weights out."""

from eyespot.transfer.augmentation import RandomAffine
from eyespot.transfer.backbones import Backbone, load_backbone
from eyespot.transfer.calibration import Temperature, Tempered, bake_temperature, fit_temperature
from eyespot.transfer.checkpoint import save_weights
from eyespot.transfer.class_balance import balanced_order, class_weights, positive_weights
from eyespot.transfer.criteria import criterion_for, map_criterion
from eyespot.transfer.data import load_data
from eyespot.transfer.digits import DigitsSplit, load_digits
from eyespot.transfer.errors import (
    BackboneError,
    CheckpointError,
    DivergedError,
    EvaluationError,
    ExamplesError,
    HeadError,
    MetricsError,
    MissingScikitLearnError,
    ReportError,
    SettingsError,
    TransferError,
)
from eyespot.transfer.examples import Examples
from eyespot.transfer.features import Features, compute_features, supports_bfloat16
from eyespot.transfer.heads import Head, drop_auxiliary_heads, find_head, replace_head
from eyespot.transfer.mcnemar import McNemarTest, mcnemar_test
from eyespot.transfer.metrics import (
    ClassificationMetrics,
    ClassScores,
    Metrics,
    MultiLabelMetrics,
    ProbabilityMetrics,
    measure,
)
from eyespot.transfer.neocognitron_training import TrainedNeocognitron, train_neocognitron
from eyespot.transfer.picture_split import PictureSplit
from eyespot.transfer.report import (
    EpochPoint,
    PictureExplainer,
    Report,
    ShownPicture,
    entry_explainer,
    show_pictures,
    write_report,
)
from eyespot.transfer.training import EpochReport, TrainingResult, accuracy, predict, train
from eyespot.transfer.triplet_loss import semi_hard_triplets, squared_distances, triplet_loss
from eyespot.transfer.zoo_training import TrainedModel, train_zoo_model, training_rule

__all__ = [
    "Backbone",
    "BackboneError",
    "CheckpointError",
    "ClassScores",
    "ClassificationMetrics",
    "DigitsSplit",
    "DivergedError",
    "EpochPoint",
    "EpochReport",
    "EvaluationError",
    "Examples",
    "ExamplesError",
    "Features",
    "Head",
    "HeadError",
    "McNemarTest",
    "Metrics",
    "MetricsError",
    "MissingScikitLearnError",
    "MultiLabelMetrics",
    "PictureExplainer",
    "PictureSplit",
    "ProbabilityMetrics",
    "RandomAffine",
    "Report",
    "ReportError",
    "SettingsError",
    "ShownPicture",
    "Temperature",
    "Tempered",
    "TrainedModel",
    "TrainedNeocognitron",
    "TrainingResult",
    "TransferError",
    "accuracy",
    "bake_temperature",
    "balanced_order",
    "class_weights",
    "compute_features",
    "criterion_for",
    "drop_auxiliary_heads",
    "entry_explainer",
    "find_head",
    "fit_temperature",
    "load_backbone",
    "load_data",
    "load_digits",
    "map_criterion",
    "mcnemar_test",
    "measure",
    "positive_weights",
    "predict",
    "replace_head",
    "save_weights",
    "semi_hard_triplets",
    "show_pictures",
    "squared_distances",
    "supports_bfloat16",
    "train",
    "train_neocognitron",
    "train_zoo_model",
    "training_rule",
    "triplet_loss",
    "write_report",
]
