"""Guided backpropagation and deconvnet: by hand, as captum where it is right, and where not."""

import numpy as np
import pytest
import torch
from captum.attr import Deconvolution, GuidedBackprop
from tests.saliency.networks import Functional, Resnet, TwoLayers, vgg
from torch import nn
from torch.nn import functional as F  # noqa: N812

REFERENCES = {"guided_backprop": GuidedBackprop, "deconvnet": Deconvolution}


def pictures(rows=3, size=16, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, 3, size, size)).astype(np.float32)


def reference(method, module, x, classes):
    with pytest.warns(UserWarning, match="hooks"):
        return (
            REFERENCES[method](module)
            .attribute(torch.from_numpy(x).requires_grad_(), target=classes)
            .detach()
            .numpy()
        )


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # U x = (3, -1), and the rows of V are the gradients that arrive: (2, 3) and (-1, 5).
        ("guided_backprop", [[2, 2], [0, 0]]),
        ("deconvnet", [[5, -1], [5, -5]]),
    ],
)
def test_by_hand(capture, explain, method, expected):
    backend = capture(TwoLayers(), torch.zeros(2, 2))
    found = explain(method, backend, [[1, 2], [1, 2]], [0, 1])
    np.testing.assert_array_equal(found.attributions, expected)
    np.testing.assert_array_equal(found.scores, [6, -3])


class Activated(nn.Module):
    """z = (f(x), -f(x)) of one number."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        y = self.function(x * 1.0)
        return torch.cat([y, -y], 1)


@pytest.mark.parametrize(
    ("function", "x", "guided", "deconvolved"),
    [
        (F.relu, 2, 1, 1),
        (F.relu, -2, 0, 1),
        (F.relu6, 7, 0, 0),
        (F.relu6, -1, 0, 1),
        (lambda x: F.relu6(x, inplace=True), 3, 1, 1),
        (F.leaky_relu, -2, 0, 1),
        (F.elu, -2, 0, 1),
        (F.elu, 2, 1, 1),
        (F.hardswish, 1, 5 / 6, 5 / 6),  # (2 x + 3) / 6
        (F.hardswish, -1, 0, 1),
        (lambda x: F.threshold(x, 0.0, 0.0), -1, 0, 1),
        (lambda x: x.clamp(min=0, max=1), 2, 0, 0),
        (lambda x: x.clamp_min(0), -2, 0, 1),
        # No rectifier keeps its own rule, behind one that lets all pass.
        (lambda x: torch.tanh(torch.relu(x + 9) - 9), -1, 1 / np.cosh(1) ** 2, 1 / np.cosh(1) ** 2),
    ],
)
def test_each_rectifier_by_hand(capture, explain, function, x, guided, deconvolved):
    backend = capture(Activated(function), torch.zeros(2, 1))
    for method, slope in (("guided_backprop", guided), ("deconvnet", deconvolved)):
        found = explain(method, backend, [[x]], [0])
        np.testing.assert_allclose(found.attributions, [[slope]], rtol=1e-5)
    for method in REFERENCES:  # a negative gradient never passes
        assert explain(method, backend, [[x]], [1]).attributions == 0


@pytest.mark.parametrize("function", [F.silu, F.gelu, F.mish, F.selu])
def test_a_curved_rectifier_has_its_own_derivative_above_zero(capture, explain, function):
    backend = capture(Activated(function), torch.zeros(2, 1))
    leaf = torch.tensor([[0.7]], requires_grad=True)
    function(leaf).sum().backward()
    for method in REFERENCES:
        found = explain(method, backend, [[0.7]], [0])
        np.testing.assert_allclose(found.attributions, leaf.grad.numpy(), rtol=1e-5)
    assert explain("guided_backprop", backend, [[-0.5]], [0]).attributions == 0
    assert explain("deconvnet", backend, [[-0.5]], [0]).attributions == 1


@pytest.mark.parametrize("method", REFERENCES)
def test_it_equals_captum_where_every_rectifier_is_a_module(capture, explain, method):
    x, classes = pictures(), [0, 3, 1]
    module = vgg()
    found = explain(method, capture(module, torch.zeros(2, 3, 16, 16), "input"), x, classes)
    expected = reference(method, module, x, classes)
    np.testing.assert_allclose(found.attributions, expected, rtol=0, atol=1e-5 * expected.max())


@pytest.mark.parametrize("method", REFERENCES)
def test_it_equals_captum_on_residual_blocks_of_one_rectifier(capture, explain, method):
    x, classes = pictures(size=32), [0, 3, 1]
    module = Resnet()
    found = explain(method, capture(module, torch.zeros(2, 3, 32, 32)), x, classes)
    expected = reference(method, module, x, classes)
    np.testing.assert_allclose(found.attributions, expected, rtol=0, atol=1e-5 * expected.max())


@pytest.mark.parametrize("method", REFERENCES)
def test_functional_and_capped_rectifiers_are_not_missed(capture, explain, method):
    x, classes = pictures(size=8), [0, 3, 1]
    found = explain(method, capture(Functional(modules=False), torch.zeros(2, 3, 8, 8)), x, classes)
    rewritten = reference(method, Functional(modules=True), x, classes)
    scale = np.abs(rewritten).max()
    np.testing.assert_allclose(found.attributions, rewritten, rtol=0, atol=1e-5 * scale)
    with pytest.warns(UserWarning, match="hooks"):  # module hooks see none of them
        hooked = REFERENCES[method](Functional(modules=False)).attribute(
            torch.from_numpy(x).requires_grad_(), target=classes
        )
    assert np.abs(hooked.detach().numpy() - rewritten).max() > 0.1 * scale


def test_a_max_pool_switches_by_the_maxima_of_the_forward_pass(capture, explain):
    class Pool(nn.Module):
        def forward(self, x):
            return F.max_pool2d(torch.relu(x), 2).flatten(1)

    backend = capture(Pool(), torch.zeros(2, 1, 2, 4))
    found = explain("deconvnet", backend, [[[[1, 5, 0, 0], [2, 3, 0, 7]]]], [0])
    np.testing.assert_array_equal(found.attributions, [[[[0, 1, 0, 0], [0, 0, 0, 0]]]])
