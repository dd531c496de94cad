"""What the entries declare, recomputed."""

import pytest
import torch

from eyespot.zoo import create_model, list_models, model_entry

# Of the papers and of torchvision's documentation.
PARAMETER_COUNTS = {
    "alexnet": 61_100_840,
    "densenet121": 7_978_856,
    "googlenet": 6_624_904,
    "lenet5": 60_000,
    "lenet5_modern": 61_706,
    "mobilenet_v2": 3_504_872,
    "resnet18": 11_689_512,
    "resnet20": 269_722,
    "resnet50": 25_557_032,
    "vgg16": 138_357_544,
}
BUILT = [
    pytest.param(name, marks=pytest.mark.giant) if name in ("alexnet", "vgg16") else name
    for name in PARAMETER_COUNTS
]


def on_meta(name, **shape):
    """Build without memory: shapes and counts are all that is there."""
    with torch.device("meta"):
        return create_model(name, **shape)


def logits_shape(network, *size):
    return tuple(network(torch.empty(*size, device="meta")).shape)


def test_every_network_has_a_count_here():
    assert list(PARAMETER_COUNTS) == list_models()


@pytest.mark.parametrize("name", PARAMETER_COUNTS)
def test_the_parameter_count(name):
    network = on_meta(name)
    counted = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert counted == PARAMETER_COUNTS[name] == model_entry(name).parameter_count


@pytest.mark.parametrize("name", PARAMETER_COUNTS)
def test_the_entry_is_filled_in(name):
    entry = model_entry(name)
    assert entry.name == name
    assert entry.paper
    assert 1998 <= entry.year <= 2018
    assert entry.departures.endswith(".")
    assert entry.task == "classification"
    assert entry.preprocessing.channels == entry.input_size[0]
    assert entry.preprocessing.size == entry.input_size[1:]


@pytest.mark.parametrize("name", PARAMETER_COUNTS)
def test_the_declared_input_gives_the_declared_classes(name):
    entry = model_entry(name)
    assert logits_shape(on_meta(name), 2, *entry.input_size) == (2, entry.num_classes)


@pytest.mark.parametrize("name", PARAMETER_COUNTS)
def test_the_smallest_input_passes_and_grey_and_other_classes_too(name):
    smallest = model_entry(name).min_input_size
    network = on_meta(name, num_classes=7, in_channels=1, input_size=smallest)
    assert logits_shape(network, 2, 1, smallest, smallest) == (2, 7)


@pytest.mark.parametrize("name", ["alexnet", "densenet121", "googlenet", "vgg16"])
def test_no_smaller_input_would_pass(name):
    network = on_meta(name)
    too_small = model_entry(name).min_input_size - 1
    with pytest.raises(RuntimeError, match="size"):
        network(torch.empty(1, 3, too_small, too_small, device="meta"))


@pytest.mark.parametrize("name", BUILT)
def test_random_weights_let_a_signal_through(name):
    torch.manual_seed(0)
    entry = model_entry(name)
    network = create_model(name)
    side = min(entry.input_size[1], 96)
    images = torch.randn(4, entry.input_size[0], side, side, requires_grad=True)
    logits = network(images)
    assert 1e-3 < logits.std() < 1e3
    # Two pictures differ by far more than float32 rounds.
    assert logits.std(0).mean() > 1e-3 * logits.std()
    (gradients,) = torch.autograd.grad(logits.max(dim=1).values.sum(), images)
    assert 1e-6 < gradients.abs().max() < 1e4
