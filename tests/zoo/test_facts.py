"""What the entries declare, recomputed."""

import functools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from eyespot.exporter.field_tracking import last_field
from eyespot.zoo import create_model, list_models, model_entry

# Of the papers and of torchvision's documentation; a family's own test file has its others.
PARAMETER_COUNTS = {
    "alexnet": 61_100_840,
    "densenet121": 7_978_856,
    "googlenet": 6_624_904,
    "lecun1989": 9_760,
    "lenet5": 60_000,
    "lenet5_modern": 61_706,
    "mobilenet_v2": 3_504_872,
    "resnet18": 11_689_512,
    "resnet20": 269_722,
    "resnet50": 25_557_032,
    "tdnn": 384 + 120 + 11,
    "vgg16": 138_357_544,
}
MODELS = list_models()
# What is built with real numbers takes memory and time.
BUILT = [
    pytest.param(name, marks=pytest.mark.giant)
    if model_entry(name).parameter_count > 30_000_000 or model_entry(name).macs > 6_000_000_000
    else name
    for name in MODELS
    if model_entry(name).task == "classification"
]
# Any picture from min_input_size on: its sizes are free, and so are classes and channels.
FREE = [name for name in MODELS if model_entry(name).task == "classification"]


@functools.cache
def on_meta(name, **shape):
    """Build without memory: shapes and counts are all that is there. Nobody may change it."""
    with torch.device("meta"):
        return create_model(name, **shape)


def inputs_on_meta(entry):
    """One row of everything that the whole network takes."""
    whole = next((part for part in entry.parts if not part.suffix), None)
    if whole is None:
        return [torch.empty(1, *entry.input_size, device="meta")]
    dtypes = {"FP32": torch.float32, "INT64": torch.int64}
    steps = entry.input_size[-1]
    return [
        torch.empty(
            1,
            *(size if isinstance(size, int) else steps for size in fact.shape),
            dtype=dtypes[fact.datatype],
            device="meta",
        )
        for fact in whole.inputs
    ]


def logits_shape(network, *size):
    return tuple(network(torch.empty(*size, device="meta")).shape)


@pytest.mark.parametrize("name", PARAMETER_COUNTS)
def test_the_published_parameter_count(name):
    assert PARAMETER_COUNTS[name] == model_entry(name).parameter_count


@pytest.mark.parametrize("name", MODELS)
def test_the_parameter_count_is_that_of_the_module(name):
    network = on_meta(name)
    counted = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert counted == model_entry(name).parameter_count


@pytest.mark.parametrize("name", MODELS)
def test_the_macs_are_those_that_pytorch_counts(name):
    network = on_meta(name)
    with FlopCounterMode(display=False) as counter:
        network(*inputs_on_meta(model_entry(name)))
    assert counter.get_total_flops() == 2 * model_entry(name).macs


@pytest.mark.parametrize(
    "name", [name for name in MODELS if model_entry(name).receptive_field is not None]
)
def test_the_receptive_field_is_that_of_the_arithmetic(name):
    fields = last_field(on_meta(name), *inputs_on_meta(model_entry(name)))
    assert fields[-1].size == model_entry(name).receptive_field


@pytest.mark.parametrize("name", MODELS)
def test_the_entry_is_filled_in(name):
    entry = model_entry(name)
    assert entry.name == name
    assert entry.paper
    assert 1980 <= entry.year <= 2018
    assert entry.departures.endswith(".")
    if entry.preprocessing is not None:
        assert entry.preprocessing.channels == entry.input_size[0]
        assert entry.dynamic_axes or entry.preprocessing.size == entry.input_size[1:]


@pytest.mark.parametrize("name", FREE)
def test_the_declared_input_gives_the_declared_classes(name):
    entry = model_entry(name)
    assert logits_shape(on_meta(name), 2, *entry.input_size) == (2, entry.num_classes)


@pytest.mark.parametrize("name", FREE)
def test_the_smallest_input_passes_and_grey_and_other_classes_too(name):
    smallest = model_entry(name).min_input_size
    network = on_meta(name, num_classes=7, in_channels=1, input_size=smallest)
    sides = [smallest] * (len(model_entry(name).input_size) - 1)
    assert logits_shape(network, 2, 1, *sides) == (2, 7)


@pytest.mark.parametrize(
    "name", [name for name in MODELS if model_entry(name).task in ("embedding", "sequence")]
)
def test_the_output_is_as_wide_as_it_is_asked_to_be(name):
    entry = model_entry(name)
    for width, network in ((entry.num_classes, on_meta(name)), (7, on_meta(name, num_classes=7))):
        assert network(*inputs_on_meta(entry)).shape[-1] == width


@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "alexnet_2012",
        "densenet121",
        "googlenet",
        "googlenet_paper",
        "network_in_network",
        "vgg16",
        "zfnet",
    ],
)
def test_no_smaller_input_would_pass(name):
    network = on_meta(name)
    too_small = model_entry(name).min_input_size - 1
    with pytest.raises(RuntimeError, match="size"):
        network(torch.empty(1, 3, too_small, too_small, device="meta"))


@pytest.mark.parametrize("name", BUILT)
def test_random_weights_let_a_signal_through(name):
    torch.manual_seed(0)
    entry = model_entry(name)
    channels, *sides = (min(side, 96) for side in entry.input_size)
    network = create_model(name, input_size=sides[-1])
    images = torch.randn(4, channels, *sides, requires_grad=True)
    logits = network(images)
    assert 1e-3 < logits.std() < 1e3
    # Two pictures differ by far more than float32 rounds.
    assert logits.std(0).mean() > 1e-3 * logits.std()
    (gradients,) = torch.autograd.grad(logits.max(dim=1).values.sum(), images)
    assert 1e-6 < gradients.abs().max() < 1e4
