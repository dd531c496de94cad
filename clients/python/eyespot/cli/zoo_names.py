"""The networks of the zoo by name, so that a typo is found before PyTorch is loaded.

The zoo knows all of this itself, and a test holds that the tables say the same.
"""

from __future__ import annotations

import difflib

from eyespot.cli.errors import CommandError

# By how many classes they tell apart, or how wide the embedding is.
_NAMES_BY_CLASSES = {
    2: ("densenet_flow",),
    3: ("tdnn",),
    10: (
        "densenet40_k12", "lecun1989", "lenet5", "lenet5_modern", "neocognitron",
        "network_in_network", "plain20", "plain56", "preact_resnet164", "resnet110", "resnet20",
        "resnet32", "resnet44", "resnet56", "wide_resnet28_10",
    ),
    11: ("fc_densenet103", "fc_densenet56", "fc_densenet67"),
    20: ("conv_vae",),
    21: (
        "deeplab_v1_vgg16", "deeplab_v3_resnet50", "dilated_context_basic",
        "dilated_context_large", "dilated_frontend_vgg16", "fcn16s", "fcn32s", "fcn8s",
        "fcn_resnet50",
    ),
    128: ("facenet",),
    134: ("attention_ocr",),
    200: ("article_example",),
    256: ("bytenet", "wavenet"),
    1000: (
        "alexnet", "alexnet_2012", "densenet121", "densenet161", "densenet169", "densenet201",
        "googlenet", "googlenet_paper", "inception_resnet_v1", "inception_resnet_v2",
        "inception_v3", "inception_v4", "mobilenet_v2", "preact_resnet18", "resnet101",
        "resnet101_paper", "resnet152", "resnet152_paper", "resnet18", "resnet34", "resnet50",
        "resnet50_paper", "resnext101_32x8d", "resnext50_32x4d", "se_resnet50", "senet154",
        "shufflenet_v1_g1", "shufflenet_v1_g2", "shufflenet_v1_g3", "shufflenet_v1_g4",
        "shufflenet_v1_g8", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "vgg11", "vgg11_bn",
        "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "wide_resnet101_2",
        "wide_resnet50_2", "xception", "zfnet",
    ),
}  # fmt: skip
CLASSES = {name: count for count, names in _NAMES_BY_CLASSES.items() for name in names}
NETWORKS = tuple(sorted(CLASSES))
# Those that torchvision has weights of.
PUBLISHED = (
    "alexnet", "deeplab_v3_resnet50", "densenet121", "densenet161", "densenet169", "densenet201",
    "fcn_resnet50", "googlenet", "inception_v3", "mobilenet_v2", "resnet101", "resnet152",
    "resnet18", "resnet34", "resnet50", "resnext101_32x8d", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16",
    "vgg16_bn", "vgg19", "vgg19_bn", "wide_resnet101_2", "wide_resnet50_2",
)  # fmt: skip


def check_network(name: str) -> None:
    """Make sure that the zoo has a network.

    Raises:
        CommandError: It has none of this name; tells the nearest.
    """
    if name in NETWORKS:
        return
    close = difflib.get_close_matches(name, NETWORKS, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    raise CommandError(
        f"no network is named {name!r}; {guess}`eyespot models` lists the {len(NETWORKS)} that "
        "there are"
    )
