import pytest
import torch
from torch import nn

from eyespot.zoo import create_model, model_entry
from eyespot.zoo.alexnet import response_normalisation


def alexnet_2012_on_meta():
    with torch.device("meta"):
        return create_model("alexnet_2012")


def test_response_normalisation_is_the_formula_of_section_3_3():
    activity = torch.rand(1, 8, 1, 1, dtype=torch.float64) * 100
    a = activity.flatten()
    expected = [
        a[i] / (2 + 1e-4 * sum(a[j] ** 2 for j in range(max(0, i - 2), min(7, i + 2) + 1))) ** 0.75
        for i in range(8)
    ]
    normalised = response_normalisation()(activity).flatten()
    assert normalised.tolist() == pytest.approx([value.item() for value in expected], rel=1e-12)


def test_the_layers_of_figure_2():
    network = alexnet_2012_on_meta()
    # Filters, inputs of each (48 and 192: one GPU's half) and kernel.
    assert [tuple(layer.weight.shape[:3]) for layer in network.children() if is_conv(layer)] == [
        (96, 3, 11),
        (256, 48, 5),
        (384, 256, 3),
        (384, 192, 3),
        (256, 192, 3),
    ]
    assert [tuple(layer.weight.shape) for layer in network.children() if is_full(layer)] == [
        (4096, 6 * 6 * 256),
        (4096, 4096),
        (1000, 4096),
    ]


def is_conv(layer):
    return isinstance(layer, nn.Conv2d)


def is_full(layer):
    return isinstance(layer, nn.Linear)


def test_the_first_two_convolutions_alone_are_normalised_before_they_are_pooled():
    network = alexnet_2012_on_meta()
    order = []
    for name, layer in network.named_children():
        layer.register_forward_hook(
            lambda _m, _i, output, name=name: order.append((name, output.shape[-1]))
        )
    network(torch.empty(1, 3, 227, 227, device="meta"))
    assert order[:6] == [
        ("conv1", 55),
        ("norm1", 55),
        ("pool", 27),
        ("conv2", 27),
        ("norm2", 27),
        ("pool", 13),
    ]
    assert [name for name, _ in order[6:10]] == ["conv3", "conv4", "conv5", "pool"]


def test_poolings_overlap():
    pool = alexnet_2012_on_meta().pool
    assert (pool.kernel_size, pool.stride) == (3, 2)


def test_the_two_groups_do_not_see_each_other():
    torch.manual_seed(0)
    conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=alexnet_2012_on_meta().conv2.groups)
    maps = torch.randn(1, 96, 5, 5)
    changed = maps.clone()
    changed[:, 48:] = 0
    assert torch.equal(conv2(maps)[:, :128], conv2(changed)[:, :128])


def test_the_published_count():
    assert model_entry("alexnet_2012").parameter_count == 60_965_224
