"""The networks of the zoo: built by name, with weights, for any number of classes.

One paper is one file, which registers its networks when it is imported here.
"""

from eyespot.zoo import (  # noqa: F401 - imported to be registered
    alexnet,
    attention_ocr,
    bytenet,
    densenet,
    facenet,
    googlenet,
    lecun1989,
    lenet5,
    mobilenet,
    neocognitron,
    resnet,
    resnet_cifar,
    tdnn,
    vgg,
    wavenet,
)
from eyespot.zoo.entry import ModelEntry, entry_of
from eyespot.zoo.errors import (
    ArchitectureError,
    DuplicateModelError,
    MissingTorchvisionError,
    UnknownModelError,
    WeightsError,
    ZooError,
)
from eyespot.zoo.registry import (
    create_model,
    list_models,
    model_entry,
    preprocessing_for,
    register_model,
)
from eyespot.zoo.torchvision_models import load_torchvision
from eyespot.zoo.weights import WeightsOrigin, load_weights, weights_origin

__all__ = [
    "ArchitectureError",
    "DuplicateModelError",
    "MissingTorchvisionError",
    "ModelEntry",
    "UnknownModelError",
    "WeightsError",
    "WeightsOrigin",
    "ZooError",
    "create_model",
    "entry_of",
    "list_models",
    "load_torchvision",
    "load_weights",
    "model_entry",
    "preprocessing_for",
    "register_model",
    "weights_origin",
]
