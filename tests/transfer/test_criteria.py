import math

import pytest
import torch
from torch import nn

from eyespot.transfer import criterion_for, map_criterion
from eyespot.zoo import create_model


def test_map_criterion_is_equation_9():
    # Distances 1 (right) and 2, j = 0.5: 1 + ln(e^-0.5 + e^-1 + e^-2); and 3 alone with 4.
    logits = torch.tensor([[-1.0, -2.0], [-4.0, -3.0]])
    first = 1 + math.log(math.exp(-0.5) + math.exp(-1) + math.exp(-2))
    second = 3 + math.log(math.exp(-0.5) + math.exp(-4) + math.exp(-3))
    loss = map_criterion(logits, torch.tensor([0, 1]), rubbish_distance=0.5)
    assert loss.item() == pytest.approx((first + second) / 2)


def test_map_criterion_survives_distances_whose_exponential_is_zero():
    loss = map_criterion(torch.tensor([[-1000.0, -2000.0]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(1000 - 0.1)


def test_distances_get_the_papers_criterion_and_others_cross_entropy():
    assert criterion_for(create_model("lenet5")) is map_criterion
    assert criterion_for(nn.Sequential(create_model("lenet5"))) is map_criterion
    assert criterion_for(create_model("lenet5_modern")) is nn.functional.cross_entropy
