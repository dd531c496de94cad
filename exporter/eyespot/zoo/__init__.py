"""The networks of the zoo: built by name, with weights, for any number of classes.

One paper is one file, which registers its networks when it is imported here.
"""

from eyespot.zoo import (  # noqa: F401 - imported to be registered
    alexnet,
    article_example,
    attention_ocr,
    bytenet,
    conv_vae,
    deeplab,
    densenet,
    densenet_cifar,
    densenet_flow,
    dilated_context,
    facenet,
    fc_densenet,
    fcn,
    googlenet,
    googlenet_paper,
    inception_resnet_v1,
    inception_v3,
    inception_v4,
    lecun1989,
    lenet5,
    mobilenet,
    neocognitron,
    network_in_network,
    preact_resnet,
    resnet,
    resnet_cifar,
    resnext,
    senet,
    shufflenet_v1,
    shufflenet_v2,
    tdnn,
    vgg,
    wavenet,
    wide_resnet,
    xception,
    zfnet,
)
from eyespot.zoo.entry import InputFact, ModelEntry, Part, entry_of
from eyespot.zoo.errors import (
    ArchitectureError,
    DeadNetworkError,
    DuplicateModelError,
    MissingTimmError,
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
from eyespot.zoo.timm_models import load_timm
from eyespot.zoo.torchvision_models import load_torchvision
from eyespot.zoo.weights import WeightsOrigin, load_weights, set_transform_input, weights_origin

__all__ = [
    "ArchitectureError",
    "DeadNetworkError",
    "DuplicateModelError",
    "InputFact",
    "MissingTimmError",
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
    "load_timm",
    "load_torchvision",
    "load_weights",
    "model_entry",
    "preprocessing_for",
    "register_model",
    "set_transform_input",
    "weights_origin",
]
