import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eyespot.zoo import create_model, model_entry
from eyespot.zoo.resnet_cifar import BasicBlock, IdentityShortcut, PlainBlock

# Section 4.2 and table 6 of the paper, in millions: 0.27, 0.46, 0.66, 0.85 and 1.7.
PARAMETER_COUNTS = {
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "plain20": 269_722,
    "plain56": 853_018,
}


def on_meta(name):
    with torch.device("meta"):
        return create_model(name)


def test_option_a_takes_every_other_pixel_and_pads_channels_on_both_sides():
    x = torch.arange(32.0).view(1, 2, 4, 4)
    y = IdentityShortcut(2, 4, stride=2)(x)
    assert y.shape == (1, 4, 2, 2)
    assert y[0, 1].tolist() == [[0.0, 2.0], [8.0, 10.0]]
    assert y[0, 2].tolist() == [[16.0, 18.0], [24.0, 26.0]]
    assert not y[0, [0, 3]].any()


def test_a_block_without_residual_is_the_rectified_identity():
    block = BasicBlock(3, 3, stride=1).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(block(x), x.clamp(min=0))


def test_names_are_those_of_the_circulating_checkpoints():
    names = set(create_model("resnet20").state_dict())
    assert {
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv1.weight",
        "layer2.2.bn2.bias",
        "layer3.2.conv2.weight",
        "linear.weight",
        "linear.bias",
    } <= names
    assert not any("shortcut" in name for name in names)
    # 19 convolutions and a linear layer.
    assert sum(name.endswith("conv1.weight") or "conv2.weight" in name for name in names) == 19


@pytest.mark.parametrize("name", PARAMETER_COUNTS)
def test_the_name_tells_the_layers_and_the_paper_their_parameters(name):
    network = on_meta(name)
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert name.removeprefix("resnet").removeprefix("plain") == str(len(layers))
    assert sum(p.numel() for p in network.parameters()) == PARAMETER_COUNTS[name]


@pytest.mark.parametrize(("plain", "residual"), [("plain20", "resnet20"), ("plain56", "resnet56")])
def test_plain_is_the_same_without_shortcuts(plain, residual):
    plain, residual = on_meta(plain), on_meta(residual)
    assert {name: tensor.shape for name, tensor in plain.state_dict().items()} == {
        name: tensor.shape for name, tensor in residual.state_dict().items()
    }
    assert not any(isinstance(m, IdentityShortcut) for m in plain.modules())
    assert len([m for m in residual.modules() if isinstance(m, IdentityShortcut)]) == len(
        [m for m in plain.modules() if isinstance(m, PlainBlock)]
    )


def test_a_plain_block_without_residual_gives_nothing():
    block = PlainBlock(3, 3, stride=1).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    assert not block(torch.randn(2, 3, 5, 5)).any()


def test_a_block_is_plain_and_the_shortcut_on_top():
    torch.manual_seed(0)
    plain, block = PlainBlock(3, 3, stride=1).eval(), BasicBlock(3, 3, stride=1).eval()
    block.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(block(x), (plain.residual(x) + x).clamp(min=0))


def test_maps_halve_twice():
    network = create_model("resnet20")
    sizes = []
    for layer in (network.layer1, network.layer2, network.layer3):
        layer.register_forward_hook(lambda _m, _i, output: sizes.append(tuple(output.shape[1:])))
    network(torch.zeros(1, 3, 32, 32))
    assert sizes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_the_published_checkpoint_knows_cifar_10():
    folder = Path(os.environ.get("EYESPOT_DATA", "nowhere"))
    checkpoint = folder / "resnet20-12fca82f.th"
    if not checkpoint.is_file():
        pytest.skip("EYESPOT_DATA names no folder with resnet20-12fca82f.th and cifar10/test")
    network = create_model("resnet20", weights=checkpoint)
    rule = model_entry("resnet20").preprocessing
    classes = sorted(path for path in (folder / "cifar10" / "test").iterdir() if path.is_dir())
    correct = []
    for target, pictures in enumerate(classes):
        pixels = np.stack([rule.apply(Image.open(p)) for p in sorted(pictures.iterdir())[:30]])
        images = (torch.from_numpy(pixels) / 255 - torch.tensor(rule.mean)) / torch.tensor(rule.std)
        with torch.no_grad():
            logits = network(images.permute(0, 3, 1, 2))  # (B, H, W, C) -> (B, C, H, W)
        correct.append((logits.argmax(1) == target).float().mean().item())
    assert np.mean(correct) > 0.75  # 81 % over the whole set of these JPEG copies
