"""Vanilla gradients by hand, by finite differences, and as captum has them."""

import math

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch import nn

from eyespot.saliency import TOP_CLASS, Objective, ParameterError, Targets, find_method

WEIGHT = [[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]]


class Linear(nn.Module):
    """z = W x."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(WEIGHT))

    def forward(self, x):
        return x @ self.weight.T


class TwoLayers(nn.Module):
    """z = V relu(U x), U = [[1, 1], [1, -1]], V = [[2, 3], [-1, 5]]."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        self.second = nn.Parameter(torch.tensor([[2.0, 3.0], [-1.0, 5.0]]))

    def forward(self, x):
        return torch.relu(x @ self.first.T) @ self.second.T


def attribute(backend, x, classes, score="logit", **parameters):
    objective = Objective(Targets(np.asarray(classes, np.int64)), score)
    x = np.asarray(x, np.float32)
    return find_method("saliency").explain(backend, x, objective, **parameters)


def test_the_gradient_of_a_linear_network_is_its_row_of_weights(capture):
    backend = capture(Linear(), torch.zeros(2, 3))
    found = attribute(backend, [[1, 1, 1], [0, 2, 0], [5, 0, 0]], [0, 1, 0])
    np.testing.assert_array_equal(found.attributions, [WEIGHT[0], WEIGHT[1], WEIGHT[0]])
    np.testing.assert_array_equal(found.scores, [-0.5, 6, 5])
    assert found.reports == [{}, {}, {}]


def test_no_target_is_the_top_class_of_each_row(capture):
    backend = capture(Linear(), torch.zeros(2, 3))
    found = attribute(backend, [[1, 1, 1], [5, 0, 0]], [TOP_CLASS, TOP_CLASS])
    np.testing.assert_array_equal(found.targets, [1, 0])
    np.testing.assert_array_equal(found.attributions, [WEIGHT[1], WEIGHT[0]])


def test_a_rectifier_passes_the_gradient_where_its_input_is_positive(capture):
    backend = capture(TwoLayers(), torch.zeros(2, 2))
    # U x = (3, 1): both pass.  U x = (3, -1): the second is shut.
    found = attribute(backend, [[2, 1], [1, 2], [1, 2]], [0, 0, 1])
    np.testing.assert_array_equal(found.scores, [9, 6, -3])
    np.testing.assert_array_equal(found.attributions, [[5, -1], [2, 2], [-1, -1]])


def test_scores_by_hand(capture):
    backend = capture(Linear(), torch.zeros(2, 3))
    x = [[0.2, 0.1, 0.4]]
    z = [0.2 - 0.2 + 0.2, 0.3 - 0.4]  # 0.2, -0.1
    p = 1 / (1 + math.exp(-(z[0] - z[1])))  # softmax of two logits
    difference = np.array(WEIGHT[0]) - np.array(WEIGHT[1])
    for score, value, slope in (
        ("logit", z[0], np.array(WEIGHT[0])),
        ("probability", p, p * (1 - p) * difference),
        ("binary_logit", z[0] - z[1], difference),
        ("binary_probability", p, p * (1 - p) * difference),
    ):
        found = attribute(backend, x, [0], score)
        np.testing.assert_allclose(found.scores, [value], rtol=1e-5)
        np.testing.assert_allclose(found.attributions, [slope], rtol=1e-5)


def test_scores_with_three_classes_by_hand(capture):
    class Three(nn.Module):
        def forward(self, x):
            return x * 1.0

    backend = capture(Three(), torch.zeros(2, 3))
    z = np.array([1.0, 2.0, -0.5])
    e = np.exp(z)
    p = e / e.sum()
    others = e[1:].sum()
    binary = z[0] - math.log(others)
    slopes = {
        "logit": np.array([1, 0, 0]),
        "probability": p[0] * (np.array([1, 0, 0]) - p),
        "binary_logit": np.array([1, -e[1] / others, -e[2] / others]),
        "binary_probability": p[0] * (1 - p[0]) * np.array([1, -e[1] / others, -e[2] / others]),
    }
    values = {"logit": 1.0, "probability": p[0], "binary_logit": binary}
    values["binary_probability"] = 1 / (1 + math.exp(-binary))
    for score, slope in slopes.items():
        found = attribute(backend, [z], [0], score)
        np.testing.assert_allclose(found.scores, [values[score]], rtol=1e-5)
        np.testing.assert_allclose(found.attributions, [slope], rtol=1e-5, atol=1e-7)


class Small(nn.Module):
    """Smooth, so that finite differences converge."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3 * 16, 4)

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.conv(x))).flatten(1))


@pytest.mark.parametrize("score", ["logit", "probability", "binary_logit", "binary_probability"])
def test_gradients_are_finite_differences(capture, score):
    module = Small().double()
    backend = capture(module, torch.zeros(2, 2, 4, 4, dtype=torch.float64))
    x = np.random.default_rng(0).standard_normal((2, 2, 4, 4))
    targets = np.array([1, 3])
    step = 1e-6
    found = backend.gradients(x, Objective(Targets(targets), score))

    def score_of(moved, row):  # in numpy and double precision, from the eager module
        z = module(torch.from_numpy(moved)).detach().numpy()[row]
        others = np.log(np.exp(np.delete(z, targets[row])).sum())
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        binary = z[targets[row]] - others
        return {
            "logit": z[targets[row]],
            "probability": p[targets[row]],
            "binary_logit": binary,
            "binary_probability": 1 / (1 + np.exp(-binary)),
        }[score]

    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        slope = (score_of(up, index[0]) - score_of(down, index[0])) / (2 * step)
        assert found.gradients[index] == pytest.approx(slope, rel=1e-5, abs=1e-7)


class Convolutional(nn.Module):
    """Batch norm, a functional and an in-place rectifier."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 5, 3)
        self.rectifier = nn.ReLU(inplace=True)
        self.head = nn.Linear(5, 4)
        nn.init.uniform_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x):
        x = nn.functional.relu(self.norm(self.first(x)))
        return self.head(self.rectifier(self.second(x)).mean((2, 3)))


def test_it_equals_captum(capture):
    module = Convolutional().eval()
    backend = capture(module, torch.zeros(2, 3, 8, 8))
    x = np.random.default_rng(1).standard_normal((3, 3, 8, 8)).astype(np.float32)
    expected = Saliency(module).attribute(
        torch.from_numpy(x).requires_grad_(), target=[0, 3, 1], abs=False
    )
    found = attribute(backend, x, [0, 3, 1])
    np.testing.assert_array_equal(found.attributions, expected.numpy())


@pytest.mark.parametrize(
    ("modifier", "expected"),
    [
        # U x = (3, -1); the gradient of z_1 at the rectifiers is (-1, 5)
        ("none", [-1, -1]),  # shut where the activation is negative
        ("guided", [0, 0]),  # where the gradient is negative as well
        ("relu", [5, -5]),  # only where the gradient is negative
    ],
)
def test_the_modifier_says_how_gradients_pass_rectifiers(capture, modifier, expected):
    backend = capture(TwoLayers(), torch.zeros(2, 2))
    found = attribute(backend, [[1, 2]], [1], modifier=modifier)
    np.testing.assert_array_equal(found.attributions, [expected])


def test_an_unknown_modifier_or_parameter_is_told_what_there_is(capture):
    backend = capture(Linear(), torch.zeros(2, 3))
    with pytest.raises(ParameterError, match="'modifier': did you mean 'guided'"):
        attribute(backend, [[1, 1, 1]], [0], modifier="guide")
    with pytest.raises(ParameterError, match="no parameter 'n_steps'; expected one of modifier"):
        attribute(backend, [[1, 1, 1]], [0], n_steps=3)


def test_it_is_linear_in_the_target(capture):
    module = Convolutional().eval()
    backend = capture(module, torch.zeros(2, 3, 8, 8))
    x = np.random.default_rng(1).standard_normal((3, 3, 8, 8)).astype(np.float32)
    first, second = (attribute(backend, x, [c] * 3).attributions for c in (2, 0))
    contrast = Objective(Targets(np.array([2] * 3), against=np.array([0] * 3)))
    found = find_method("saliency").explain(backend, x, contrast)
    np.testing.assert_allclose(found.attributions, first - second, rtol=1e-4, atol=1e-7)
    logits = backend.scores(x)
    np.testing.assert_allclose(found.scores, logits[:, 2] - logits[:, 0], rtol=1e-6)
