"""DeepLIFT's rescale rule: by hand, as captum, and complete."""

import warnings

import numpy as np
import pytest
import torch
from captum.attr import DeepLift
from tests.saliency.networks import Functional, Resnet, TwoLayers, vgg
from torch import nn

from eyespot.saliency import Objective, Targets, UnavailableMethodError, UnknownScoreError


def pictures(rows=3, size=16):
    return np.random.default_rng(0).standard_normal((rows, 3, size, size)).astype(np.float32)


def test_by_hand(capture, explain):
    backend = capture(TwoLayers(), torch.zeros(2, 2))
    # U x = (3, -1) from U 0 = 0: the multipliers of the rectifiers are 3 / 3 and 0 / -1.
    found = explain("deep_lift", backend, [[1, 2]], [0])
    np.testing.assert_allclose(found.attributions, [[2, 4]])
    # From the baseline (1, 1), U b = (2, 0): 1 / 1 and 0 / -1, times x - b = (0, 1).
    found = explain("deep_lift", backend, [[1, 2]], [0], baseline=1.0)
    np.testing.assert_allclose(found.attributions, [[0, 2]])
    assert found.reports[0]["convergence_delta"] == 0


def captum(module, x, baseline):
    x = torch.from_numpy(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its hooks
        found = DeepLift(module).attribute(x, torch.full_like(x, baseline), target=[0, 3, 1])
    return found.detach().numpy()


def test_it_equals_captum(capture, explain):
    module, x = vgg(bias=False), pictures()
    backend = capture(module, torch.zeros(2, 3, 16, 16), "input")
    found = explain("deep_lift", backend, x, [0, 3, 1])
    expected = captum(module, x, 0.0)
    np.testing.assert_allclose(
        found.attributions, expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def test_a_baseline_that_rectifiers_pass_is_right_where_captum_is_not(capture):
    """Behind a rectifier, captum forgets what a pool gives for the baseline."""
    module = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()).eval()
    backend = capture(module, torch.zeros(2, 1, 2, 2), "input")
    x = np.array([[[[-1, -1], [3, -1]]]], np.float32)
    baseline = np.array([[[[1, -1], [-1, 2]]]], np.float32)
    found = backend.multipliers(x, baseline, Objective(Targets(np.array([0]))))
    contributions = found.gradients * (x - baseline)
    np.testing.assert_allclose(contributions.sum(), 3 - 2, rtol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = DeepLift(module).attribute(
            torch.from_numpy(x), torch.from_numpy(baseline), target=0
        )
    assert theirs.detach().numpy().sum() == pytest.approx(3)


@pytest.mark.parametrize("build", [vgg, Resnet, lambda: Functional(modules=False)])
def test_it_is_complete(capture, explain, build):
    module = build()
    size = 16 if build is vgg else 32
    x = pictures(size=size)
    backend = capture(module, torch.zeros(2, 3, size, size), "input" if build is vgg else "x")
    found = explain("deep_lift", backend, x, [0, 3, 1], baseline=0.1)
    at_baseline = backend.scores(np.full_like(x, 0.1))[np.arange(3), [0, 3, 1]]
    total = found.attributions.reshape(3, -1).sum(1)
    np.testing.assert_allclose(total, found.scores - at_baseline, atol=2e-5)
    for report in found.reports:
        assert report["convergence_delta"] == pytest.approx(0, abs=2e-5)


class Attention(nn.Module):
    """Softmax of the input, times the input."""

    def forward(self, x):
        return torch.softmax(x, 1) * x


class Gated(nn.Module):
    """A product of two things that both depend on the input, as in squeeze and excitation."""

    def forward(self, x):
        return x * torch.sigmoid(x)


@pytest.mark.parametrize(("build", "named"), [(Attention, "aten.softmax"), (Gated, "aten.mul")])
def test_an_operator_without_a_rule_is_named(capture, explain, build, named):
    backend = capture(build(), torch.zeros(2, 3))
    for method in ("deep_lift", "lrp"):
        with pytest.raises(UnavailableMethodError, match=f"{method} has no rule for {named}"):
            explain(method, backend, [[1, 2, 3]], [0])


def test_only_logits_are_explained(capture, explain):
    backend = capture(TwoLayers(), torch.zeros(2, 2))
    with pytest.raises(UnknownScoreError, match="deep_lift explains logit, found 'probability'"):
        explain("deep_lift", backend, [[1, 2]], [0], score="probability")
