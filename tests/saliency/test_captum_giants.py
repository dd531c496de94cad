"""The methods against captum on published architectures, at their size and with random weights."""

import warnings

import numpy as np
import pytest
import torch
from captum.attr import (
    Deconvolution,
    DeepLift,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    Occlusion,
    Saliency,
)
from torch.nn import functional as F  # noqa: N812

from eyespot.exporter.capture import capture as capture_program
from eyespot.exporter.capture import find_gradient_node
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.saliency.torch_backend.operators import base_name, without_writes
from eyespot.zoo import create_model

pytestmark = pytest.mark.giant

SIZE, CLASSES = 224, [3, 8]
# What captum hooks for Grad-CAM, and the node that holds the same.
LAYERS = {
    "vgg16": (lambda network: network.features[29], ""),
    "resnet18": (lambda network: network.layer4, ""),
    "googlenet": (lambda network: network.inception5b, ""),
    "densenet121": (lambda network: network.features.norm5, "batch_norm_120"),
    "mobilenet_v2": (lambda network: network.features[18], ""),
}


@pytest.fixture(scope="module", params=LAYERS)
def network(request):
    torch.manual_seed(0)
    module = create_model(request.param, num_classes=10, input_size=SIZE).eval()
    for part in module.modules():  # maps that reach the end, where random weights let them fade
        if isinstance(part, torch.nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None
            part.train()
    with torch.no_grad():
        module(torch.randn(8, 3, SIZE, SIZE))
    program = capture_program(module.eval(), torch.zeros(1, 3, SIZE, SIZE))
    backend = TorchBackend(program, gradient_node=find_gradient_node(program))
    return request.param, module, backend


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)


def quietly(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum's, about its hooks
        return function().detach().numpy()


def assert_equal(found, expected):
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)


def leaf(x):
    return torch.from_numpy(x.copy()).requires_grad_()


def test_gradients(network, explain, x):
    _, module, backend = network
    for name, attribute in (
        ("saliency", lambda: Saliency(module).attribute(leaf(x), target=CLASSES, abs=False)),
        ("input_x_gradient", lambda: InputXGradient(module).attribute(leaf(x), target=CLASSES)),
    ):
        assert_equal(explain(name, backend, x, CLASSES).attributions, quietly(attribute))


def test_integrated_gradients(network, explain, x):
    _, module, backend = network
    found = explain("integrated_gradients", backend, x, CLASSES, n_steps=4)
    expected = quietly(
        lambda: IntegratedGradients(module).attribute(leaf(x), target=CLASSES, n_steps=4)
    )
    assert_equal(found.attributions, expected)


def test_occlusion(network, explain, x):
    _, module, backend = network
    found = explain("occlusion", backend, x, CLASSES, window=84, stride=70)
    expected = quietly(
        lambda: Occlusion(module).attribute(
            leaf(x), (3, 84, 84), strides=(3, 70, 70), target=CLASSES
        )
    )
    # Differences of scores: what is 1e-7 of a score may be more of a difference.
    scale = np.abs(expected).max() + np.abs(found.scores).max()
    np.testing.assert_allclose(
        np.repeat(found.attributions, 3, 1), expected, rtol=0, atol=1e-5 * scale
    )


def test_grad_cam(network, explain, x):
    name, module, backend = network
    hooked, layer = LAYERS[name]
    found = explain("grad_cam", backend, x, CLASSES, layer=layer)
    expected = quietly(
        lambda: LayerGradCam(module, hooked(module)).attribute(
            leaf(x), target=CLASSES, relu_attributions=True
        )
    )
    enlarged = F.interpolate(torch.from_numpy(expected), size=(SIZE, SIZE), mode="bilinear")
    assert_equal(found.attributions, enlarged.numpy())


class CappedReLU(torch.nn.Sequential):
    """ReLU6 of what captum knows: its rule at zero, the cap's own derivative above."""

    def __init__(self):
        super().__init__(torch.nn.ReLU(), torch.nn.Hardtanh(-torch.inf, 6.0))


def with_module_rectifiers(module, x):
    """The same network, each of its rectifiers a module of its own, which hooks see."""
    rewritten = capture_program(module, torch.zeros(1, 3, SIZE, SIZE)).module()
    without_writes(rewritten.graph)
    for node in list(rewritten.graph.nodes):
        kind = {"relu": torch.nn.ReLU, "hardtanh": CappedReLU}.get(base_name(node))
        if kind is not None:
            rewritten.add_submodule(f"rectifier_{node.name}", kind())
            with rewritten.graph.inserting_after(node):
                hooked = rewritten.graph.call_module(f"rectifier_{node.name}", (node.args[0],))
            node.replace_all_uses_with(hooked)
            rewritten.graph.erase_node(node)
    rewritten.recompile()
    with torch.no_grad():
        torch.testing.assert_close(rewritten(torch.from_numpy(x)), module(torch.from_numpy(x)))
    return rewritten


def test_rectifiers(network, explain, x):
    name, module, backend = network
    is_seen_by_hooks = name in ("vgg16", "resnet18")
    if not is_seen_by_hooks:  # functional and capped rectifiers
        rewritten = with_module_rectifiers(module, x)
    for method, reference in (("guided_backprop", GuidedBackprop), ("deconvnet", Deconvolution)):
        found = explain(method, backend, x, CLASSES).attributions

        def of(network, reference=reference):
            return quietly(lambda: reference(network).attribute(leaf(x), target=CLASSES))

        if is_seen_by_hooks:
            assert_equal(found, of(module))
        else:
            assert np.abs(found - of(module)).max() > 0.05 * np.abs(found).max()
            assert_equal(found, of(rewritten))


def test_deep_lift(network, explain, x):
    name, module, backend = network
    found = explain("deep_lift", backend, x, CLASSES)
    at_nothing = backend.scores(np.zeros_like(x))[[0, 1], CLASSES]
    total = found.attributions.reshape(2, -1).sum(1)
    scale = np.abs(found.attributions).sum()
    np.testing.assert_allclose(total, found.scores - at_nothing, atol=1e-5 * scale)
    if name == "vgg16":
        expected = quietly(lambda: DeepLift(module).attribute(leaf(x), target=CLASSES))
        assert_equal(found.attributions, expected)
