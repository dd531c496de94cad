"""Calibration: the paper's definitions by hand, and temperatures that can be solved for."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from eyespot.transfer import MetricsError, bake_temperature, fit_temperature, measure
from eyespot.transfer.calibration import reliability


def test_the_error_by_hand():
    # Two bins of four answers: confidence 0.6 with half right, confidence 0.9 with all right.
    confidence = np.array([0.55, 0.65, 0.85, 0.95])
    found = reliability(confidence, np.array([True, False, True, True]), bins=4)
    first, second = found.bins[2:]
    assert (first.lower, first.upper, first.count) == (0.5, 0.75, 2)
    assert (first.confidence, first.accuracy) == (pytest.approx(0.6), 0.5)
    assert (second.confidence, second.accuracy) == (pytest.approx(0.9), 1.0)
    assert found.error == pytest.approx(0.5 * 0.1 + 0.5 * 0.1)
    assert [each.count for each in found.bins] == [0, 0, 2, 2]
    assert found.bins[0].accuracy is None


def test_a_bin_has_its_upper_edge_and_not_its_lower():
    found = reliability(np.array([0.0, 0.5, 1.0]), np.ones(3, bool), bins=2)
    assert [each.count for each in found.bins] == [2, 1]


def test_of_sigmoids_the_confidence_is_that_of_the_answer():
    # A logit of 0 - ln 4 is a no with probability 0.8.
    logits, labels = np.full((5, 1), -math.log(4)), np.array([0, 0, 0, 0, 1])
    calibration = measure(logits, labels, names=["yes"]).calibration
    assert calibration.error == pytest.approx(0, abs=1e-12)
    [some] = [each for each in calibration.bins if each.count]
    assert (some.count, some.confidence, some.accuracy) == (5, pytest.approx(0.8), 0.8)


def answers_right(share, *, logit, classes, rows=100):
    """Logits that always say class 0, equally sure; so many of the labels are 0."""
    logits = np.zeros((rows, classes))
    logits[:, 0] = logit
    right = round(share * rows)
    labels = np.r_[np.zeros(right, int), 1 + np.arange(rows - right) % max(classes - 1, 1)]
    return logits, labels


def test_the_temperature_of_a_softmax_that_can_be_solved_for():
    logits, labels = answers_right(0.7, logit=5.0, classes=4)
    found = fit_temperature(logits, labels)
    # e^(5/T) / (e^(5/T) + 3) = 0.7
    assert found.value == pytest.approx(5 / math.log(3 * 0.7 / 0.3), rel=1e-6)
    assert found.error_after == pytest.approx(0, abs=1e-6)
    before = math.exp(5) / (math.exp(5) + 3)
    assert found.error_before == pytest.approx(before - 0.7)


@pytest.mark.parametrize("shape", [(100, 1), (50, 2)])
def test_the_temperature_of_sigmoids_that_can_be_solved_for(shape):
    logits = np.full(shape, 3.0)
    labels = (np.arange(100) < 80).astype(np.float32).reshape(shape)
    found = fit_temperature(logits, labels if shape[1] > 1 else labels[:, 0])
    assert found.value == pytest.approx(3 / math.log(0.8 / 0.2), rel=1e-6)  # sigmoid(3/T) = 0.8


@pytest.mark.parametrize("seed", range(6))
def test_it_is_where_the_loss_is_least(seed):
    chance = np.random.default_rng(seed)
    logits = chance.normal(size=(60, 5)) * chance.uniform(0.2, 8)
    labels = (logits / logits.std() + chance.normal(size=(60, 5))).argmax(axis=1)
    found = fit_temperature(logits, labels)

    def loss(temperature):
        scaled = torch.tensor(logits / temperature)
        return nn.functional.cross_entropy(scaled, torch.tensor(labels)).item()

    assert found.loss_before == pytest.approx(loss(1))
    assert found.loss_after == pytest.approx(loss(found.value))
    assert found.loss_after <= found.loss_before
    assert found.loss_after <= min(loss(found.value * 1.01), loss(found.value / 1.01))


@pytest.mark.parametrize(("share", "bound"), [(1.0, 1 / 20), (0.0, 20.0)])
def test_what_has_no_best_temperature_stays_within_bounds(share, bound):
    logits, labels = answers_right(share, logit=2.0, classes=3)
    found = fit_temperature(logits, labels)
    assert found.value == pytest.approx(bound)
    assert math.isfinite(found.loss_after)
    assert found.loss_after < found.loss_before


def test_what_is_calibrated_is_left_alone():
    logits, labels = answers_right(0.5, logit=math.log(3), classes=4)
    assert fit_temperature(logits, labels).value == pytest.approx(1)


@pytest.fixture
def network():
    torch.manual_seed(0)
    head = nn.Sequential(nn.ReLU(), nn.Linear(6, 4))
    return nn.Sequential(nn.Linear(3, 6), head)


@pytest.mark.parametrize("head", ["", "1", "0"])
def test_a_baked_network_gives_the_logits_over_the_temperature(network, head):
    x, before = torch.randn(50, 3), {k: v.clone() for k, v in network.state_dict().items()}
    baked = bake_temperature(network, 2.5, head=head if head != "0" else "1.0")
    with torch.no_grad():
        torch.testing.assert_close(baked(x), network(x) / 2.5)
        assert torch.equal(baked(x).argmax(dim=1), network(x).argmax(dim=1))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_in_a_linear_head_nothing_else_changes(network):
    baked = bake_temperature(network, 2.0, head="1").state_dict()
    assert list(baked) == list(network.state_dict())
    changed = [
        name for name, value in network.state_dict().items() if not (baked[name] == value).all()
    ]
    assert changed == ["1.1.weight", "1.1.bias"]


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_no_temperature(network, temperature):
    with pytest.raises(MetricsError, match="positive number"):
        bake_temperature(network, temperature)
