import pytest
import torch

from eyespot.zoo import create_model, model_entry


@pytest.mark.parametrize(
    ("name", "width", "count"),
    [("resnext50_32x4d", 4, 25_028_904), ("resnext101_32x8d", 8, 88_791_336)],
)
def test_32_paths_of_the_width_in_the_name(name, width, count):
    with torch.device("meta"):
        network = create_model(name)
    grouped = [block.conv2 for block in network.layer1]
    assert [layer.groups for layer in grouped] == [32] * 3
    assert [layer.in_channels // layer.groups for layer in grouped] == [width] * 3
    # Table 1: the width doubles with every stage, the number of paths stays.
    assert [block.conv2.in_channels // 32 for block in network.layer4] == [8 * width] * 3
    assert {block.conv2.groups for block in network.layer4} == {32}
    assert model_entry(name).parameter_count == count


def test_stages_stride_in_their_first_grouped_convolution():
    with torch.device("meta"):
        network = create_model("resnext50_32x4d")
    assert [stage[0].conv2.stride for stage in (network.layer2, network.layer3)] == [(2, 2)] * 2
    assert network.layer2[0].conv1.stride == (1, 1)
