"""Layer-wise relevance propagation: by hand, conserved, and blind to how norms are written."""

import numpy as np
import pytest
import torch
from captum.attr import LRP
from captum.attr._utils.lrp_rules import EpsilonRule, GammaRule
from tests.saliency.networks import Linear, Resnet, TwoLayers, vgg
from torch import nn


def pictures(rows=3, size=16):
    return np.random.default_rng(0).standard_normal((rows, 3, size, size)).astype(np.float32)


def test_by_hand(capture, explain):
    # z = V relu(U x): U x = (3, 1), z_0 = 2 * 3 + 3 * 1 = 9, shared as 6 and 3; 6 to x as
    # (2, 1) / 3, 3 as (2, -1) / 1.
    backend = capture(TwoLayers(), torch.zeros(2, 2))
    found = explain("lrp", backend, [[2, 1]], [0], epsilon=0.0)
    np.testing.assert_allclose(found.attributions, [[10, -1]], rtol=1e-6)


def test_epsilon_is_a_share_of_the_scale(capture, explain):
    backend = capture(Linear(), torch.zeros(2, 3))
    # z = (-1, 2): the root mean square is sqrt(5 / 2); what is shared is z^2 / (z + eps).
    found = explain("lrp", backend, [[1, 2, 4]], [1], epsilon=0.5)
    share = 2 / (2 + 0.5 * np.sqrt(2.5))
    np.testing.assert_allclose(found.attributions, [[0, 6 * share, -4 * share]], rtol=1e-5)


def test_gamma_favours_what_speaks_for_it(capture, explain):
    class Rectified(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 1, 1, bias=False)
            with torch.no_grad():
                self.conv.weight.copy_(torch.tensor([[[[1.0]], [[-1.0]]]]))

        def forward(self, x):
            return self.conv(torch.relu(x)).flatten(1)

    backend = capture(Rectified(), torch.zeros(2, 2, 1, 1))
    x = [[[[3]], [[1]]]]
    plain = explain("lrp", backend, x, [0], epsilon=0.0, gamma=0.0)
    np.testing.assert_allclose(plain.attributions.ravel(), [3, -1], rtol=1e-6)
    # With gamma 1 the weights are 2 and -1: shares 6 / 5 and -1 / 5 of the score, 2.
    favoured = explain("lrp", backend, x, [0], epsilon=0.0, gamma=1.0)
    np.testing.assert_allclose(favoured.attributions.ravel(), [2.4, -0.4], rtol=1e-6)


def test_without_biases_relevance_is_conserved(capture, explain):
    backend = capture(vgg(bias=False), torch.zeros(2, 3, 16, 16), "input")
    gaps = []
    for epsilon in (1e-1, 1e-3, 1e-5):
        found = explain("lrp", backend, pictures(), [0, 3, 1], epsilon=epsilon, gamma=0.0)
        gaps.append(np.abs(found.attributions.reshape(3, -1).sum(1) - found.scores).max())
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-4


class Unflattened(nn.Module):
    """The same, with flattening as a function: captum has no rule for the module."""

    def __init__(self, layers):
        super().__init__()
        self.maps, self.dense = layers[:8], layers[9:]

    def forward(self, x):
        return self.dense(self.maps(x).flatten(1))


@pytest.mark.parametrize(("gamma", "epsilon"), [(0.0, 1e-9), (0.25, 1e-9)])
def test_it_equals_captum(capture, explain, gamma, epsilon):
    module = vgg(bias=False)
    x = pictures()
    backend = capture(module, torch.zeros(2, 3, 16, 16), "input")
    found = explain("lrp", backend, x, [0, 3, 1], epsilon=0.0, gamma=gamma)
    convolutions = [layer for layer in module if isinstance(layer, nn.Conv2d)]
    for layer in module:
        if hasattr(layer, "weight"):
            layer.rule = EpsilonRule(epsilon=epsilon)
    for layer in convolutions[1:]:
        layer.rule = GammaRule(gamma=gamma) if gamma else layer.rule
    expected = LRP(Unflattened(module)).attribute(
        torch.from_numpy(x).requires_grad_(), target=[0, 3, 1]
    )
    expected = expected.detach().numpy()
    np.testing.assert_allclose(
        found.attributions, expected, rtol=0, atol=2e-4 * np.abs(expected).max()
    )


def test_a_folded_norm_is_explained_alike(capture, explain):
    torch.manual_seed(1)
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    nn.init.uniform_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    ends = (nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    folded = torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval())
    found = [
        explain(
            "lrp",
            capture(nn.Sequential(*layers, *ends), torch.zeros(2, 3, 8, 8), "input"),
            pictures(size=8),
            [0, 3, 1],
        ).attributions
        for layers in ((conv, norm), (folded,))
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-4 * np.abs(found[1]).max())


def test_residual_sums_share_and_constants_pass_relevance_on(capture, explain):
    class Sums(nn.Module):
        def forward(self, x):
            return (x * 2 + x) / 4 + 1

    backend = capture(Sums(), torch.zeros(2, 2))
    found = explain("lrp", backend, [[4, 8]], [1], epsilon=0.0)
    np.testing.assert_allclose(found.attributions, [[0, 7]], rtol=1e-6)  # 24 / 4 + 1


def test_a_residual_network_stays_in_proportion(capture, explain):
    backend = capture(Resnet(), torch.zeros(2, 3, 32, 32))
    found = explain("lrp", backend, pictures(size=32), [0, 3, 1])
    assert np.isfinite(found.attributions).all()
    assert np.abs(found.attributions).sum() < 100 * np.abs(found.scores).sum()
