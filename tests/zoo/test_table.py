"""The history of convolutional networks: each of these is in the zoo, under this name."""

import pytest

from eyespot.zoo import list_models, model_entry

# Networks by the task that they do.
NETWORKS = {
    "classification": """
        neocognitron tdnn lecun1989 lenet5 lenet5_modern alexnet alexnet_2012
        network_in_network zfnet vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn
        googlenet googlenet_paper resnet18 resnet34 resnet50 resnet101 resnet152
        resnet50_paper resnet101_paper resnet152_paper
        resnet20 resnet32 resnet44 resnet56 resnet110 plain20 plain56
        preact_resnet18 preact_resnet164 wide_resnet28_10 wide_resnet50_2 wide_resnet101_2
        resnext50_32x4d resnext101_32x8d
        inception_v3 inception_v4 inception_resnet_v1 inception_resnet_v2 xception
        densenet121 densenet169 densenet201 densenet161 densenet40_k12 mobilenet_v2
        shufflenet_v1_g1 shufflenet_v1_g2 shufflenet_v1_g3 shufflenet_v1_g4 shufflenet_v1_g8
        shufflenet_v2_x0_5 shufflenet_v2_x1_0 se_resnet50 senet154 article_example
    """,
    "segmentation": """
        fcn32s fcn16s fcn8s fcn_resnet50 deeplab_v1_vgg16 deeplab_v3_resnet50
        dilated_context_basic dilated_context_large dilated_frontend_vgg16
        fc_densenet56 fc_densenet67 fc_densenet103
    """,
    "flow": "densenet_flow",
    "embedding": "facenet",
    "sequence": "attention_ocr wavenet bytenet",
    "image": "conv_vae",
}


def test_the_zoo_has_exactly_these():
    expected = [name for names in NETWORKS.values() for name in names.split()]
    assert list_models() == sorted(expected)


@pytest.mark.parametrize("task", NETWORKS)
def test_each_declares_its_task(task):
    for name in NETWORKS[task].split():
        assert model_entry(name).task == task
