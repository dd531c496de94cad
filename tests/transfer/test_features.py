import logging

import numpy as np
import pytest
import torch
from torch import nn

from eyespot.transfer import Examples, SettingsError, compute_features, features, load_backbone
from eyespot.v1.preprocessing import PreprocessingRule

RULE = PreprocessingRule((6, 6), None, "bilinear", "RGB", (0.5,) * 3, (0.25,) * 3)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout()
        self.fc = nn.Linear(4, 3)
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        return self.fc(self.drop(torch.relu(self.norm(self.conv(x))).mean((2, 3))))


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    backbone = load_backbone(Network(), rule=RULE, num_classes=2)
    backbone.network.passes = 0
    return backbone


@pytest.fixture
def examples():
    pixels = np.random.default_rng(0).integers(0, 256, (10, 6, 6, 3), dtype=np.uint8)
    return Examples(pixels, np.arange(10, dtype=np.int64) % 2)


def by_hand(backbone, examples):
    """Normalise, convolve, rectify, average: in eval mode dropout does nothing."""
    network = backbone.network
    x = torch.from_numpy(examples.images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        return torch.relu(network.norm.eval()(network.conv((x - 0.5) / 0.25))).mean((2, 3))


def test_features_are_what_the_head_is_given(backbone, examples):
    told = []
    found = compute_features(
        backbone, examples, batch_size=4, progress=lambda *counts: told.append(counts)
    )
    assert found.values.shape == (10, 4)
    assert not found.was_cached
    assert torch.allclose(found.values, by_hand(backbone, examples), atol=1e-6)
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_the_network_is_left_as_it_was(backbone, examples):
    network = backbone.network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    compute_features(backbone, examples)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(part.training for part in network.modules())
    assert not any(part._forward_pre_hooks for part in network.modules())
    # What was computed without gradients must be usable with them.
    backbone.head_layer(compute_features(backbone, examples).values).sum().backward()


def test_it_is_left_so_after_an_error_too(backbone, examples, monkeypatch):
    def fail(x):
        raise RuntimeError("out of memory")

    backbone.network.train()
    monkeypatch.setattr(backbone.network.conv, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        compute_features(backbone, examples)
    assert backbone.network.training
    assert not any(part._forward_pre_hooks for part in backbone.network.modules())


def test_the_second_time_they_are_read(backbone, examples, tmp_path):
    first = compute_features(backbone, examples, cache=tmp_path)
    passes = backbone.network.passes
    second = compute_features(backbone, examples, cache=tmp_path)
    assert (first.was_cached, second.was_cached) == (False, True)
    assert torch.equal(first.values, second.values)
    assert passes == backbone.network.passes == 1
    assert len(list(tmp_path.iterdir())) == 1


def change_a_pixel(backbone, examples):
    images = examples.images.copy()
    images[3, 1, 1, 1] ^= 1
    return backbone, Examples(images, examples.labels)


def change_a_weight(backbone, examples):
    backbone.network.conv.weight.data[0, 0, 0, 0] += 1e-3
    return backbone, examples


def change_a_statistic(backbone, examples):
    backbone.network.norm.running_var[0] += 1e-3
    return backbone, examples


def change_the_rule(backbone, examples):
    rule = PreprocessingRule((6, 6), None, "bilinear", "RGB", (0.5,) * 3, (0.3,) * 3)
    return load_backbone(backbone.network, rule=rule, num_classes=2), examples


@pytest.mark.parametrize(
    "change", [change_a_pixel, change_a_weight, change_a_statistic, change_the_rule]
)
def test_whatever_they_depend_on_makes_other_features(backbone, examples, tmp_path, change):
    compute_features(backbone, examples, cache=tmp_path)
    assert not compute_features(*change(backbone, examples), cache=tmp_path).was_cached
    assert len(list(tmp_path.iterdir())) == 2


def test_neither_labels_nor_the_head_make_others(backbone, examples, tmp_path):
    compute_features(backbone, examples, cache=tmp_path)
    backbone.head_layer.weight.data.normal_()
    turned = Examples(examples.images, 1 - examples.labels)
    assert compute_features(backbone, turned, cache=tmp_path).was_cached


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty"])
def test_damaged_features_are_computed_anew(backbone, examples, tmp_path, caplog, damage):
    whole = compute_features(backbone, examples, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes({"torn": content[:-9], "flipped": content, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        again = compute_features(backbone, examples, cache=tmp_path)
    assert not again.was_cached
    assert "damaged and computed anew" in caplog.text
    assert torch.equal(again.values, whole.values)
    assert compute_features(backbone, examples, cache=tmp_path).was_cached


def test_a_cache_that_cannot_be_written_is_done_without(backbone, examples, tmp_path, caplog):
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        found = compute_features(backbone, examples, cache=tmp_path / "file" / "cache")
    assert len(found) == 10
    assert "the features are not kept" in caplog.text


def test_half_precision_is_near_and_kept_apart(backbone, examples, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "supports_bfloat16", lambda device: True)
    whole = compute_features(backbone, examples, cache=tmp_path)
    half = compute_features(backbone, examples, cache=tmp_path, precision="bfloat16")
    assert half.values.dtype == torch.float32
    assert 0 < (half.values - whole.values).abs().max() < 0.05
    assert not half.was_cached


def test_what_cannot_be_asked_for_is_told(backbone, examples, monkeypatch):
    monkeypatch.setattr(features, "supports_bfloat16", lambda device: False)
    with pytest.raises(SettingsError, match="no bfloat16 of its own"):
        compute_features(backbone, examples, precision="bfloat16")
    with pytest.raises(SettingsError, match="at least 1, found 0"):
        compute_features(backbone, examples, batch_size=0)


def test_maps_before_a_convolution_keep_their_shape():
    backbone = load_backbone("network_in_network", num_classes=2, input_size=8)
    pictures = Examples(np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]))
    values = compute_features(backbone, pictures).values
    assert values.shape == (2, 192, 2, 2)
    with torch.no_grad():
        logits = backbone.module(torch.from_numpy(pictures.images))
        assert torch.allclose(backbone.tail(backbone.head_layer(values)), logits)
