"""Training networks on pictures: data in, a trained module and its weights out."""

from eyespot.transfer.augmentation import RandomAffine
from eyespot.transfer.calibration import Temperature, Tempered, bake_temperature, fit_temperature
from eyespot.transfer.checkpoint import save_weights
from eyespot.transfer.criteria import criterion_for, map_criterion
from eyespot.transfer.digits import DigitsSplit, load_digits
from eyespot.transfer.errors import (
    CheckpointError,
    DivergedError,
    ExamplesError,
    MetricsError,
    MissingScikitLearnError,
    SettingsError,
    TransferError,
)
from eyespot.transfer.examples import Examples
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
from eyespot.transfer.picture_folder import PictureSplit, load_picture_folder
from eyespot.transfer.training import EpochReport, TrainingResult, accuracy, predict, train
from eyespot.transfer.triplet_loss import semi_hard_triplets, squared_distances, triplet_loss
from eyespot.transfer.zoo_training import TrainedModel, train_zoo_model, training_rule

__all__ = [
    "CheckpointError",
    "ClassScores",
    "ClassificationMetrics",
    "DigitsSplit",
    "DivergedError",
    "EpochReport",
    "Examples",
    "ExamplesError",
    "McNemarTest",
    "Metrics",
    "MetricsError",
    "MissingScikitLearnError",
    "MultiLabelMetrics",
    "PictureSplit",
    "ProbabilityMetrics",
    "RandomAffine",
    "SettingsError",
    "Temperature",
    "Tempered",
    "TrainedModel",
    "TrainedNeocognitron",
    "TrainingResult",
    "TransferError",
    "accuracy",
    "bake_temperature",
    "criterion_for",
    "fit_temperature",
    "load_digits",
    "load_picture_folder",
    "map_criterion",
    "mcnemar_test",
    "measure",
    "predict",
    "save_weights",
    "semi_hard_triplets",
    "squared_distances",
    "train",
    "train_neocognitron",
    "train_zoo_model",
    "training_rule",
    "triplet_loss",
]
