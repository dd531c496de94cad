"""Mixup, moving averages, rates: small sums by hand."""

import math

import numpy as np
import pytest
import torch

from eyespot.transfer.stages.chance import chance_at, torch_chance_at
from eyespot.transfer.stages.learning_rate_range import (
    HIGHEST,
    LOWEST,
    chosen_rate,
    find_learning_rate,
    rate_at,
)
from eyespot.transfer.stages.mixup import mix_up
from eyespot.transfer.stages.moving_average import MovingAverage
from eyespot.transfer.stages.schedule import Schedule


class Fixed:
    """Chance that is none."""

    def beta(self, a, b):
        assert (a, b) == (0.4, 0.4)
        return 0.25

    def permutation(self, count):
        return np.arange(count)[::-1].copy()


def test_mixup_blends_rows_and_targets_in_one_proportion():
    inputs, targets = torch.tensor([[4.0], [8.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    mixed, soft = mix_up(inputs, targets, alpha=0.4, chance=Fixed())
    assert mixed.tolist() == [[7.0], [5.0]]
    assert soft.tolist() == [[0.25, 0.75], [0.75, 0.25]]
    assert mix_up(inputs, targets, alpha=0, chance=Fixed()) == (inputs, targets)


def test_an_average_begins_with_the_weights_and_follows_slowly():
    weights = {"w": torch.tensor(1.0)}
    average = MovingAverage(weights, decay=0.5)
    weights["w"] += 10
    average.add(weights, step=1)  # decay min(0.5, 1/11)
    assert float(average.weights["w"]) == pytest.approx(1 / 11 * 1 + 10 / 11 * 11)
    weights["w"] -= 11
    before = float(average.weights["w"])
    average.add(weights, step=1000)
    assert float(average.weights["w"]) == pytest.approx(before / 2)


def test_rates_rise_fall_and_grow_smaller_with_depth():
    schedule = Schedule(learning_rate=1.0, decay=0.5, epochs=2, steps=10, blocks=3)
    assert schedule.rate(0, 0) == pytest.approx(0.5)  # two steps of 20 to rise
    assert schedule.rate(0, 10) == pytest.approx(0.5)  # half way along the cosine
    assert schedule.rate(2, 10) == pytest.approx(0.125)
    assert schedule.rate(0, 19) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.95)))
    assert schedule.learning_blocks(0) == 3


def test_gradual_unfreezing_reaches_every_block():
    schedule = Schedule(learning_rate=1.0, decay=0.5, epochs=6, steps=1, blocks=3, gradual=True)
    assert [schedule.learning_blocks(epoch) for epoch in range(6)] == [1, 1, 2, 2, 3, 3]
    brief = Schedule(learning_rate=1.0, decay=0.5, epochs=2, steps=1, blocks=5, gradual=True)
    assert [brief.learning_blocks(epoch) for epoch in range(2)] == [3, 5]


def test_the_rate_is_a_tenth_of_that_before_the_lowest_loss():
    assert rate_at(0) == LOWEST
    assert rate_at(59) == pytest.approx(HIGHEST)
    losses = [1.0, 0.9, 0.5, 0.7, math.nan]
    assert chosen_rate(losses) == pytest.approx(max(LOWEST, 0.1 * rate_at(1)))
    falling = [1 / (1 + step) for step in range(60)]
    assert chosen_rate(falling) == pytest.approx(0.1 * rate_at(58))


def test_a_range_test_leaves_the_weights_as_they_were():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    rate = find_learning_rate([weight], lambda step: (weight**2).sum(), weight_decay=0.0)
    assert weight.tolist() == [1.0]
    assert weight.grad is None
    # AdamW moves by about the rate at a step: 1 is reached when the rates sum to it.
    assert 1e-3 < rate < 1e-1


def test_chance_follows_from_the_place():
    assert chance_at(1, 2).random() == chance_at(1, 2).random()
    assert chance_at(1, 2).random() != chance_at(1, 3).random()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with torch_chance_at(1, 2):
        first = torch.rand(1)
    assert torch.equal(torch.rand(1), expected)
    with torch_chance_at(1, 2):
        assert torch.equal(torch.rand(1), first)
