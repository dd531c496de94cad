import pytest
import torch

from eyespot.zoo import create_model, load_timm


def on_meta(name):
    with torch.device("meta"):
        return create_model(name)


def blocks(network):
    return [*network.layer1, *network.layer2, *network.layer3, *network.layer4]


@pytest.mark.parametrize(
    ("name", "layers"), [("se_resnet50", [3, 4, 6, 3]), ("senet154", [3, 8, 36, 3])]
)
def test_every_block_squeezes_to_a_sixteenth(name, layers):
    network = on_meta(name)
    stages = (network.layer1, network.layer2, network.layer3, network.layer4)
    assert [len(stage) for stage in stages] == layers
    for block in blocks(network):
        squeeze, excite = block.se_module.fc1, block.se_module.fc2
        assert squeeze.in_channels == block.conv3.out_channels == excite.out_channels
        assert squeeze.out_channels == excite.in_channels == squeeze.in_channels // 16


def test_a_channel_is_scaled_by_what_its_means_say():
    load_timm()
    from timm.models.senet import SEModule

    torch.manual_seed(0)
    module = SEModule(4, reduction=2).eval()
    x = torch.randn(2, 4, 3, 5)
    means = x.sum((2, 3)) / 15  # (B, 4)
    w1, w2 = (layer.weight.flatten(1) for layer in (module.fc1, module.fc2))
    hidden = (means @ w1.T + module.fc1.bias).clamp(min=0)
    scales = 1 / (1 + torch.exp(-(hidden @ w2.T + module.fc2.bias)))  # (B, 4)
    torch.testing.assert_close(module(x), x * scales[:, :, None, None])


def test_se_resnet50_strides_in_the_first_convolution_of_a_bottleneck():
    strided = [block for block in blocks(on_meta("se_resnet50")) if block.conv1.stride == (2, 2)]
    assert len(strided) == 3
    assert all(block.conv2.stride == (1, 1) for block in strided)


def test_senet154_differs_from_resnext152_as_the_paper_tells():
    network = on_meta("senet154")
    # The 7x7 of the stem is three 3x3.
    stem = [layer for layer in network.layer0 if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.kernel_size for layer in stem] == [(3, 3)] * 3
    for block in blocks(network):
        # 64 groups; the first 1x1 convolution is half as wide as the 3x3.
        assert block.conv2.groups == 64
        assert 2 * block.conv1.out_channels == block.conv2.out_channels
    # Shortcuts of stride 2 are 3x3.
    shortcuts = [stage[0].downsample[0] for stage in (network.layer2, network.layer3)]
    assert {(layer.kernel_size, layer.stride) for layer in shortcuts} == {((3, 3), (2, 2))}
    assert network.drop_rate == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["se_resnet50", "senet154"])
def test_no_smaller_input_would_pass(name):
    with pytest.raises(RuntimeError, match="Output size is too small"):
        on_meta(name)(torch.empty(1, 3, 2, 2, device="meta"))


def test_every_element_of_the_last_map_depends_on_every_pixel():
    """Which is why no receptive field is declared."""
    network = create_model("se_resnet50")
    # All channels of the first excitation, so that no rectifier is in the way.
    maps = []
    network.layer1[0].register_forward_hook(lambda _m, _i, output: maps.append(output))
    images = torch.randn(1, 3, 96, 96, requires_grad=True)
    network(images)
    (gradients,) = torch.autograd.grad(maps[0][0, :, 0, 0].sum(), images)
    assert gradients.abs().sum(1).count_nonzero() > 0.9 * 96 * 96
