"""Stage 1 on features of two numbers."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from eyespot.transfer import DivergedError, Examples, SettingsError
from eyespot.transfer.stages.head_stage import FeatureExamples, HeadSettings, train_head
from eyespot.transfer.stages.objective import Objective

OBJECTIVE = Objective("classes", 2)


def features(number, *, seed=0, far=2.0):
    """Two clouds about (far, 0) and (-far, 0)."""
    labels = np.arange(number) % 2
    chance = torch.Generator().manual_seed(seed)
    values = torch.randn(number, 2, generator=chance)
    values[:, 0] += far * (1 - 2 * torch.from_numpy(labels))
    return FeatureExamples(values, Examples(np.zeros((number, 1, 1, 1), np.uint8), labels))


def trained(*, examples=None, held_out=None, settings=None, head=None, seed=0):
    torch.manual_seed(0)
    head = head or nn.Linear(2, 2)
    result = train_head(
        head,
        examples or features(20),
        held_out=held_out or features(12, seed=1),
        objective=OBJECTIVE,
        settings=settings or HeadSettings(epochs=30, patience=5, seed=seed),
    )
    return head, result


def test_a_head_finds_its_rate_and_the_classes():
    head, result = trained(examples=features(20, far=4.0), held_out=features(12, seed=1, far=4.0))
    assert result.best.accuracy == 1
    assert 1e-5 < result.learning_rate < 1
    assert not head.training
    assert 1 <= result.best_epoch <= len(result.history) <= 30


def test_it_ends_when_it_gets_no_better_and_keeps_the_best():
    # What is held out has its labels exchanged: the first head is the best that there is.
    held_out = features(12, seed=1)
    exchanged = FeatureExamples(
        held_out.values, Examples(held_out.examples.images, 1 - held_out.examples.labels)
    )
    fresh = nn.Linear(2, 2)
    nn.init.zeros_(fresh.weight)
    nn.init.zeros_(fresh.bias)
    head, result = trained(head=fresh, held_out=exchanged)
    assert result.best_epoch == 0
    assert len(result.history) == 5  # the patience
    assert not head.weight.any()
    assert result.best.loss == pytest.approx(math.log(2))


@pytest.mark.parametrize("head", [nn.Linear, nn.Sequential])
def test_one_seed_gives_one_head(head):
    def weights(seed, elsewhere):
        torch.manual_seed(7)
        made = nn.Sequential(nn.Dropout(), nn.Linear(2, 2)) if head is nn.Sequential else None
        torch.manual_seed(elsewhere)
        found, _ = trained(
            head=made, seed=seed, settings=HeadSettings(epochs=2, batch_size=8, seed=seed)
        )
        return torch.cat([value.flatten() for value in found.parameters()])

    assert torch.equal(weights(1, 5), weights(1, 6))
    assert not torch.equal(weights(1, 5), weights(2, 5))


def test_each_class_comes_as_often_as_any_other_if_asked():
    # 18 of class 0, 2 of class 1: a plain head prefers 0 where both clouds lie on each other.
    labels = np.array([0] * 18 + [1] * 2)
    examples = FeatureExamples(
        torch.zeros(20, 2), Examples(np.zeros((20, 1, 1, 1), np.uint8), labels)
    )
    settings = HeadSettings(epochs=40, batch_size=20, learning_rate=0.1, patience=40)
    plain, _ = trained(examples=examples, held_out=examples, settings=settings)
    balanced = HeadSettings(epochs=40, batch_size=20, learning_rate=0.1, patience=40, balanced=True)
    _, result = trained(examples=examples, held_out=features(12), settings=balanced)
    assert float((plain.bias[0] - plain.bias[1]).detach()) > 1  # towards ln 9 = 2.2
    assert [epoch.loss for epoch in result.history][-1] == pytest.approx(math.log(2), abs=0.02)


def test_progress_tells_each_epoch():
    told = []
    train_head(
        nn.Linear(2, 2),
        features(20),
        held_out=features(12),
        objective=OBJECTIVE,
        settings=HeadSettings(epochs=3, batch_size=8),
        progress=told.append,
    )
    assert [(each.stage, each.epoch, each.steps) for each in told] == [
        ("head", number, 3) for number in (1, 2, 3)
    ]
    assert told[-1].seconds_left == 0


def test_a_loss_that_is_no_number_ends_it():
    examples = features(20)
    examples.values[3] = math.nan
    with pytest.raises(
        DivergedError, match="the loss of the head is nan at step 1 of 1 in epoch 1"
    ):
        trained(examples=examples)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"patience": 0}, {"batch_size": 0}, {"learning_rate": -1.0}]
)
def test_impossible_settings_are_named(wrong):
    with pytest.raises(SettingsError, match=f"{next(iter(wrong))} must be"):
        HeadSettings(**wrong)
