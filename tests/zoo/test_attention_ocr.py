"""The attending reader against its paper: trunk, attention, and what feeds what."""

import pytest
import torch
from torch import nn

from eyespot.zoo import create_model, load_torchvision, model_entry
from eyespot.zoo.attention_ocr import LENGTH, SpatialAttention


@pytest.fixture
def network():
    torch.manual_seed(0)
    return create_model("attention_ocr", num_classes=12, input_size=51)  # a 4x4 map


def test_the_trunk_is_torchvisions_up_to_mixed_5d():
    ours = create_model("attention_ocr").trunk
    with torch.device("meta"):
        whole = load_torchvision().models.inception_v3(aux_logits=False, init_weights=False)
    layers = dict(whole.named_children())
    names = list(layers)[: list(layers).index("Mixed_5d") + 1]
    theirs = nn.Sequential()
    for name in names:
        theirs.add_module(name, layers[name])
    theirs.load_state_dict(ours.state_dict(), assign=True)
    images = torch.randn(2, 3, 75, 75)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs.eval()(images))


def test_the_papers_picture_has_16_by_16_places_and_37_characters():
    with torch.device("meta"):
        network = create_model("attention_ocr")
    logits, looks = network.read(torch.empty(2, 3, 150, 150, device="meta"))
    assert logits.shape == (2, 37, 134)
    assert looks.shape == (2, 37, 16, 16)


@pytest.mark.parametrize("size", [27, 28, 30, 61, 64])
def test_other_sizes_have_other_maps(size):
    with torch.device("meta"):
        network = create_model("attention_ocr", in_channels=1, input_size=size)
    features = network.trunk(torch.empty(1, 1, size, size, device="meta"))
    assert features.shape == (1, 288, network.side, network.side)


def test_the_smallest_picture_is_read():
    network = create_model("attention_ocr", num_classes=5, in_channels=1, input_size=27)
    assert network(torch.randn(2, 1, 27, 27)).shape == (2, LENGTH, 5)


def test_no_smaller_picture_would_pass():
    too_small = model_entry("attention_ocr").min_input_size - 1
    with torch.device("meta"):
        trunk = create_model("attention_ocr").trunk
    with pytest.raises(RuntimeError, match="size"):
        trunk(torch.empty(1, 3, too_small, too_small, device="meta"))


def test_attention_by_hand():
    attention = SpatialAttention(2)
    features, state = torch.randn(1, 288, 2, 2), torch.randn(1, 256)
    found = attention(attention.keys(features), state)[0]
    expected = torch.empty(4)
    eye = torch.eye(2)
    for i in range(2):
        for j in range(2):
            total = attention.state.weight @ state[0] + attention.state.bias
            total = total + attention.feature.weight[:, :, 0, 0] @ features[0, :, i, j]
            total = total + attention.row[:, :, 0] @ eye[i] + attention.column[:, 0] @ eye[j]
            expected[2 * i + j] = attention.value.weight[0] @ torch.tanh(total)
    torch.testing.assert_close(found, expected.softmax(0), atol=1e-5, rtol=1e-4)


def test_looks_add_up_to_one(network):
    _, looks = network.read(torch.randn(2, 3, 51, 51))
    torch.testing.assert_close(looks.sum(dim=(2, 3)), torch.ones(2, LENGTH))
    # It does not stare at one place.
    assert (looks[0, 0] - looks[0, 1]).abs().max() > 1e-6


def test_a_blank_picture_is_told_apart_by_place_alone(network):
    keys = network.attention.keys(torch.ones(1, 288, 4, 4))
    alpha = network.attention(keys, torch.zeros(1, 256))[0]
    assert len(set(alpha.tolist())) == 16
    nn.init.zeros_(network.attention.row)
    nn.init.zeros_(network.attention.column)
    keys = network.attention.keys(torch.ones(1, 288, 4, 4))
    alpha = network.attention(keys, torch.zeros(1, 256))[0]
    torch.testing.assert_close(alpha, torch.full((16,), 1 / 16))


def test_the_last_character_is_fed_back(network):
    images = torch.randn(1, 3, 51, 51)
    with torch.no_grad():
        before = network(images)[0]
        first = before[0].argmax()
        network.last_character.weight[first] += 1
        after = network(images)[0]
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_the_last_glimpse_is_fed_back(network):
    images = torch.randn(1, 3, 51, 51)
    with torch.no_grad():
        before = network(images)[0]
        network.last_glimpse.weight += 0.1
        after = network(images)[0]
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_every_character_has_gradients(network):
    images = torch.randn(1, 3, 51, 51, requires_grad=True)
    logits = network(images)
    for step in (0, 1, LENGTH - 1):
        score = logits[0, step].max()
        (gradients,) = torch.autograd.grad(score, images, retain_graph=True)
        assert gradients.abs().max() > 1e-6


def test_rows_are_read_apart(network):
    images = torch.randn(3, 3, 51, 51)
    with torch.no_grad():
        together, alone = network(images)[1], network(images[1:2])[0]
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)
