"""The networks of the zoo: built by name, with weights, for any number of classes.

One paper is one file, which registers its networks when it is imported here.
"""

from eyespot.zoo import (  # noqa: F401 - imported to be registered
    alexnet,
    densenet,
    googlenet,
    lenet5,
    mobilenet,
    resnet,
    resnet_cifar,
    vgg,
)
from eyespot.zoo.entry import InputFact, ModelEntry, Part, entry_of
from eyespot.zoo.errors import (
    ArchitectureError,
    DeadNetworkError,
    DuplicateModelError,
    MissingTorchvisionError,
    UnknownModelError,
    WeightsError,
    ZooError,
)
from eyespot.zoo.liveness import check_is_alive, enliven
from eyespot.zoo.registry import (
    create_model,
    list_models,
    model_entry,
    preprocessing_for,
    register_model,
)
from eyespot.zoo.torchvision_models import load_torchvision
from eyespot.zoo.weights import WeightsOrigin, load_weights, set_transform_input, weights_origin

__all__ = [
    "ArchitectureError",
    "DeadNetworkError",
    "DuplicateModelError",
    "InputFact",
    "MissingTorchvisionError",
    "ModelEntry",
    "Part",
    "UnknownModelError",
    "WeightsError",
    "WeightsOrigin",
    "ZooError",
    "check_is_alive",
    "create_model",
    "enliven",
    "entry_of",
    "list_models",
    "load_torchvision",
    "load_weights",
    "model_entry",
    "preprocessing_for",
    "register_model",
    "set_transform_input",
    "weights_origin",
]
