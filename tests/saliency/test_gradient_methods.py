"""Methods that are made of plain gradients: by hand, by captum, by their axioms."""

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients
from tests.saliency.networks import Linear, Resnet, vgg
from torch import nn

from eyespot.saliency import TOP_CLASS, Objective, Targets, UnavailableMethodError, find_method


def pictures(rows=3, size=16, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, 3, size, size)).astype(np.float32)


class Square(nn.Module):
    """z = (x^2, x): the first bends, so that a path matters."""

    def forward(self, x):
        return torch.cat([x * x, x], 1)


class Pixels(nn.Module):
    """Takes UINT8 and squares it."""

    def forward(self, x):
        return (x.to(torch.float32) / 255) ** 2


def test_input_x_gradient_by_hand(capture, explain):
    backend = capture(Linear(), torch.zeros(2, 3))
    found = explain("input_x_gradient", backend, [[1, 2, 4], [3, 0, 1]], [0, 1])
    np.testing.assert_array_equal(found.attributions, [[1, -4, 2], [0, 0, -1]])


def test_input_x_gradient_equals_captum(capture, explain):
    module, x = vgg(), pictures()
    backend = capture(module, torch.zeros(2, 3, 16, 16), "input")
    found = explain("input_x_gradient", backend, x, [0, 3, 1])
    leaf = torch.from_numpy(x).requires_grad_()
    expected = InputXGradient(module).attribute(leaf, target=[0, 3, 1])
    np.testing.assert_array_equal(found.attributions, expected.detach().numpy())


def test_integrated_gradients_by_hand(capture, explain):
    backend = capture(Square(), torch.zeros(2, 1))
    found = explain("integrated_gradients", backend, [[3], [3]], [0, 1], n_steps=4, baseline=1.0)
    np.testing.assert_allclose(found.attributions, [[8], [2]], rtol=1e-6)  # 3^2 - 1^2; 3 - 1
    for report in found.reports:
        assert report["convergence_delta"] == pytest.approx(0, abs=1e-5)


def test_integrated_gradients_equal_captum(capture, explain):
    module, x = vgg(), pictures()
    backend = capture(module, torch.zeros(2, 3, 16, 16), "input")
    found = explain("integrated_gradients", backend, x, [0, 3, 1], n_steps=20, baseline=0.25)
    expected, delta = IntegratedGradients(module).attribute(
        torch.from_numpy(x),
        baselines=0.25,
        target=[0, 3, 1],
        n_steps=20,
        return_convergence_delta=True,
    )
    expected = expected.numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.attributions, expected, rtol=0, atol=1e-5 * scale)
    reported = [report["convergence_delta"] for report in found.reports]
    np.testing.assert_allclose(reported, delta.numpy(), atol=1e-6)


def test_integrated_gradients_are_complete(capture, explain):
    module, x = Resnet(), pictures(size=32)
    backend = capture(module, torch.zeros(2, 3, 32, 32))
    found = explain("integrated_gradients", backend, x, [0, 3, 1], n_steps=300)
    at_nothing = backend.scores(np.zeros_like(x))[np.arange(3), [0, 3, 1]]
    total = found.attributions.reshape(3, -1).sum(1)
    np.testing.assert_allclose(total, found.scores - at_nothing, atol=0.01)


def test_pixels_are_taken_along_the_line_in_fractions(capture, explain):
    backend = capture(Pixels(), torch.zeros(2, 1, dtype=torch.uint8), "to")
    found = explain("integrated_gradients", backend, np.array([[51]], np.uint8), [0], n_steps=4)
    np.testing.assert_allclose(found.attributions, [[0.04]], rtol=1e-5)  # (51 / 255)^2


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_how_a_network_is_written_does_not_matter(capture, explain, method):
    torch.manual_seed(1)
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    nn.init.uniform_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    ends = (nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    folded = torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval())
    x = pictures(size=8)
    parameters = {"n_steps": 10} if method == "integrated_gradients" else {}
    found = [
        explain(
            method,
            capture(nn.Sequential(*layers, *ends), torch.zeros(2, 3, 8, 8), "input"),
            x,
            [0, 3, 1],
            **parameters,
        ).attributions
        for layers in ((conv, norm), (folded,))
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5 * np.abs(found[1]).max())


def test_partial_integrals_are_of_the_whole_line(capture):
    backend = capture(Square(), torch.zeros(2, 1))
    x, objective = np.array([[1.0]], np.float32), Objective(Targets(np.array([0])))
    backend.rows_at_once = lambda row_shape: 2
    steps = list(
        find_method("integrated_gradients").attribute(
            backend, x, objective, parameters={"n_steps": 16}
        )
    )
    assert [step.progress for step in steps] == pytest.approx(np.arange(1, 9) / 8)
    # The mean slope of the whole line is 1; that of its first quarter would be 0.25.
    assert steps[-1].read().attributions == pytest.approx(1, rel=1e-5)
    generator = find_method("integrated_gradients").attribute(
        backend, x, objective, parameters={"n_steps": 16}
    )
    for _ in range(2):
        early = next(generator)
    assert early.read().attributions == pytest.approx(1, abs=0.15)


def test_smooth_grad_of_a_linear_network_is_its_gradient(capture, explain):
    backend = capture(Linear(), torch.zeros(2, 3))
    found = explain("smooth_grad", backend, [[1, 2, 4], [3, 0, 1]], [0, 1], n_samples=7)
    np.testing.assert_allclose(found.attributions, [[1, -2, 0.5], [0, 3, -1]], rtol=1e-6)
    np.testing.assert_array_equal(found.scores, [-1, -1])


def test_smooth_grad_averages_gradients_at_noisy_rows(capture, explain):
    backend = capture(Square(), torch.zeros(2, 2))

    class Recording:
        seen = ()
        output_shape, rows_at_once = backend.output_shape, backend.rows_at_once
        scores = backend.scores

        def gradients(self, x, objective):
            self.seen = (*self.seen, *x)
            return backend.gradients(x, objective)

    recording = Recording()
    x = np.array([[1.0, 5.0]], np.float32)
    found = explain("smooth_grad", recording, x, [1], n_samples=400, noise_level=0.1)
    seen = np.stack(recording.seen)
    assert seen.shape == (400, 2)
    np.testing.assert_allclose(seen.std(0), [0.4, 0.4], rtol=0.1)  # a tenth of the range, 4
    np.testing.assert_allclose(seen.mean(0), x[0], atol=0.06)
    np.testing.assert_allclose(found.attributions, [[0, 2 * seen[:, 1].mean()]], rtol=1e-5)


def test_noise_belongs_to_the_row_and_the_seed(capture, explain):
    module = vgg()
    backend = capture(module, torch.zeros(2, 3, 16, 16), "input")
    x = pictures(rows=3)

    def smooth(rows, **parameters):
        classes = [TOP_CLASS] * len(rows)
        return explain(
            "smooth_grad", backend, rows, classes, n_samples=5, **parameters
        ).attributions

    together = smooth(x)
    np.testing.assert_allclose(smooth(x[2:]), together[2:], atol=1e-6 * np.abs(together).max())
    swapped = smooth(x[::-1].copy())[::-1]
    np.testing.assert_allclose(swapped, together, atol=1e-6 * np.abs(together).max())
    assert np.abs(smooth(x, seed=1) - together).max() > 0.01 * np.abs(together).max()


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("saliency", {}),
        ("input_x_gradient", {}),
        ("guided_backprop", {}),
        ("deconvnet", {}),
        ("integrated_gradients", {"n_steps": 5}),
        ("smooth_grad", {"n_samples": 5}),
        ("cam", {}),
        ("grad_cam", {}),
        ("guided_grad_cam", {}),
        ("grad_cam_plus_plus", {}),
        ("layer_cam", {}),
        ("occlusion", {"window": 16, "stride": 8}),
        ("rise", {"n_masks": 10}),
        ("deep_lift", {}),
        ("lrp", {}),
    ],
)
def test_several_targets_of_a_row_are_what_each_is_alone(capture, explain, method, parameters):
    backend = capture(Resnet(), torch.zeros(2, 3, 32, 32))
    x = pictures(rows=2, size=32)
    together = explain(method, backend, x, [0, 3, 1, 1], **parameters)
    first = explain(method, backend, x, [0, 1], **parameters)
    second = explain(method, backend, x, [3, 1], **parameters)
    np.testing.assert_array_equal(together.targets, [0, 3, 1, 1])
    for index, alone in ((slice(0, None, 2), first), (slice(1, None, 2), second)):
        np.testing.assert_allclose(together.scores[index], alone.scores, rtol=1e-5)
        scale = np.abs(alone.attributions).max()
        assert scale > 0
        np.testing.assert_allclose(
            together.attributions[index], alone.attributions, rtol=0, atol=1e-5 * scale
        )
        for found, expected in zip(together.reports[index], alone.reports, strict=True):
            assert found == pytest.approx(expected, abs=1e-5)


def test_one_forward_pass_serves_the_targets_of_a_row(capture):
    backend = capture(Resnet(), torch.zeros(2, 3, 32, 32))
    calls = []
    run = backend._variant("derivative", None)
    backend._variant = lambda *_: lambda *args: calls.append(len(args[-1])) or run(*args)
    backend.gradients(pictures(rows=2, size=32), Objective(Targets(np.array([-1, -2, -3] * 2))))
    assert calls == [2]


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_a_rule_for_rectifiers_needs_one(method, capture, explain):
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    backend = capture(network, torch.zeros(2, 3), "input")
    with pytest.raises(UnavailableMethodError, match="no rectifier"):
        explain(method, backend, [[1, 2, 3]], [0])
