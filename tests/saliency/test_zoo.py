"""Every network of the zoo: logits and gradients of its original are autograd's own."""

import numpy as np
import pytest
import torch

from eyespot.exporter.capture import capture, find_gradient_node
from eyespot.exporter.original_file import save_original
from eyespot.exporter.preprocessed import Preprocessed
from eyespot.saliency import Objective, Targets
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.zoo import create_model, list_models, model_entry

# One for each kind of graph; the others are giants.
QUICK = {
    "article_example",
    "lecun1989",
    "lenet5",
    "lenet5_modern",
    "mobilenet_v2",
    "neocognitron",
    "network_in_network",
    "plain20",
    "resnet20",
    "shufflenet_v1_g3",
}


def networks():
    return list(_networks())


def _networks():
    for name in list_models():
        entry = model_entry(name)
        if entry.task != "classification" or entry.preprocessing is None:
            continue
        marks = [] if name in QUICK else [pytest.mark.giant]
        yield pytest.param(name, marks=marks, id=name)


def build(name):
    entry = model_entry(name)
    channels = entry.input_size[0]
    # As small as the network takes: the graph is the same.
    size = max(entry.min_input_size, 32)
    torch.manual_seed(0)
    return create_model(name, num_classes=10, input_size=size), (channels, size)


def reload(module, sample, path):
    program = capture(module, sample)
    save_original(program, path)
    return TorchBackend.load(path, gradient_node=find_gradient_node(program))


def autograd(network, x, targets):
    leaf = x.clone().requires_grad_()
    logits = network(leaf)
    chosen = logits[torch.arange(len(x)), targets]
    (gradients,) = torch.autograd.grad(chosen.sum(), leaf)
    return logits.detach().numpy(), gradients.numpy()


@pytest.mark.parametrize("name", networks())
def test_without_preprocessing(name, tmp_path):
    network, (channels, size) = build(name)
    x = torch.randn(3, channels, size, size)
    backend = reload(network, x[:1], tmp_path / "original.pt2")
    targets = torch.tensor([0, 9, 4])
    logits, gradients = autograd(network, x, targets)
    found = backend.gradients(x.numpy(), Objective(Targets(targets.numpy())))
    np.testing.assert_array_equal(backend.scores(x.numpy()), logits)
    np.testing.assert_array_equal(found.gradients, gradients)
    assert np.abs(gradients).max() > 0


@pytest.mark.parametrize("name", networks())
def test_with_preprocessing(name, tmp_path):
    network, (channels, size) = build(name)
    rule = model_entry(name).preprocessing
    pixels = torch.randint(0, 256, (3, size, size, channels), dtype=torch.uint8)
    module = Preprocessed(network, rule).eval()
    backend = reload(module, pixels[:1], tmp_path / "original.pt2")
    targets = torch.tensor([1, 0, 7])

    def normalised(leaf):
        return network((leaf.permute(0, 3, 1, 2) / 255.0 - module.mean) / module.std)

    logits, gradients = autograd(normalised, pixels.float(), targets)
    found = backend.gradients(pixels.numpy(), Objective(Targets(targets.numpy())))
    np.testing.assert_array_equal(backend.scores(pixels.numpy()), logits)
    np.testing.assert_array_equal(found.gradients, gradients)
    assert found.gradients.shape == (3, size, size, channels)
