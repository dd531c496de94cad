"""A network of three small blocks, and pictures that it can learn to tell apart."""

import numpy as np
import pytest
import torch
from torch import nn

from eyespot.transfer import Examples
from eyespot.transfer.stages.blocks import find_blocks
from eyespot.v1.preprocessing import PreprocessingRule

RULE = PreprocessingRule(
    resize_size=(6, 6),
    crop_size=None,
    interpolation="bilinear",
    color_order="GRAY",
    mean=(0.5,),
    std=(0.5,),
)


def make_network(outputs=2):
    torch.manual_seed(3)
    layers = {
        "stem": nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()),
        "middle": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        "last": nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        "another": nn.Conv2d(4, 4, 1),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "dropout": nn.Dropout(0.2),
        "head": nn.Linear(4, outputs),
    }
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    # Statistics unlike those that a batch would have.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 0.1
    return network.eval()


def make_examples(number, *, seed=0):
    """Class 1 is brighter, class 0 darker, both with noise (N, 6, 6, 1)."""
    chance = np.random.default_rng(seed)
    labels = np.arange(number) % 2
    noise = chance.integers(0, 60, (number, 6, 6, 1))
    return Examples((noise + 190 * labels[:, None, None, None]).astype(np.uint8), labels)


@pytest.fixture
def network():
    return make_network()


@pytest.fixture
def blocks(network):
    """The last first."""
    return tuple(reversed(find_blocks(network, torch.zeros(1, 1, 6, 6), head="head")))
