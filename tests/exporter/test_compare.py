"""Comparisons: depth and gradients by hand, timing by a clock of our own, pictures looked at."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from eyespot.exporter import (
    PUBLISHED_ERRORS,
    ComparedNetwork,
    EntryPlace,
    OriginalError,
    add_model,
    compare_networks,
    draw_comparison,
    trace,
)
from eyespot.exporter.comparison_picture import _draw_scatter
from eyespot.exporter.gradient_norms import depth_of, gradient_norms
from eyespot.exporter.latency import measure_latencies
from eyespot.exporter.tracing import trace_zoo_model
from eyespot.zoo import UnknownModelError


class Block(nn.Module):
    """Two convolutions, with a shortcut past them or without."""

    def __init__(self, has_shortcut):
        super().__init__()
        self.one = nn.Conv2d(4, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 4, 3, padding=1)
        self.has_shortcut = has_shortcut

    def forward(self, x):
        changed = self.two(torch.relu(self.one(x)))
        return torch.relu(x + changed if self.has_shortcut else changed)


def stacked(*, has_shortcut, blocks=8):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        *(Block(has_shortcut) for _ in range(blocks)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )


def test_depth_is_the_longest_path():
    program = trace(stacked(has_shortcut=True), torch.zeros(2, 3, 8, 8))
    assert depth_of(program) == 18

    class Projected(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.shortcut = Block(False), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.block(x) + self.shortcut(x)

    assert depth_of(trace(Projected(), torch.zeros(1, 4, 8, 8))) == 2


def test_what_is_done_to_a_weight_first_does_not_hide_it():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Parameter(torch.ones(4, 3, 3, 3))
            self.map_of_biases = nn.Parameter(torch.zeros(4, 6, 6))
            self.second = nn.Parameter(torch.ones(5, 144))
            self.register_buffer("mask", torch.ones(4, 3, 1, 1))

        def forward(self, x):
            x = nn.functional.conv2d(x, self.first * self.mask) + self.map_of_biases
            return nn.functional.linear(x.flatten(1), self.second)

    assert depth_of(trace(Masked(), torch.zeros(1, 3, 8, 8))) == 2
    # Three convolutions, and the two layers that are connected to all before them.
    assert depth_of(trace_zoo_model("lecun1989")) == 4


def test_the_norms_are_those_of_autograd():
    network = stacked(has_shortcut=True, blocks=1)
    norms = gradient_norms(trace(network, torch.zeros(3, 3, 8, 8)), seed=4)
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    classes = torch.randint(5, (3,), generator=torch.Generator().manual_seed(4))
    nn.functional.cross_entropy(network(images), classes).backward()
    weights = [network[0], network[1].one, network[1].two, network[4]]
    assert norms == pytest.approx([float(each.weight.grad.norm()) for each in weights], rel=1e-4)


def test_a_shortcut_keeps_the_gradient_alive():
    plain, shortcut = (
        gradient_norms(trace(stacked(has_shortcut=has), torch.zeros(4, 3, 8, 8)))
        for has in (False, True)
    )
    assert len(plain) == len(shortcut) == 18
    # From the last block to the first: a plain network loses it, the other does not.
    assert plain[1] < 1e-3 * plain[16]
    assert shortcut[1] > 1e-1 * shortcut[16]


def test_what_is_no_classifier_has_no_norms():
    program = trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8))
    assert gradient_norms(program) is None


def test_models_are_timed_in_turns_and_the_median_counts():
    now, ran = [0.0], []

    def taking(name, *seconds):
        each = iter(seconds)

        def run(rows):
            ran.append((name, rows))
            now[0] += next(each)

        return run

    # The first run of each batch size does not count.
    fast = taking("fast", 9.0, 0.1, 0.1, 7.0, 9.0, 0.1, 0.1, 0.1)
    slow = taking("slow", 9.0, 0.6, 0.6, 0.6)
    latencies = measure_latencies([fast, slow], batch_sizes=(1, 4), repeats=3, clock=lambda: now[0])
    assert ran[:6] == [("fast", 1), ("slow", 1)] * 3
    assert latencies[0].single == pytest.approx(0.1)
    assert (latencies[0].best_batch, latencies[0].best) == (4, pytest.approx(0.025))
    # A larger batch of the slow one is not tried.
    assert (list(latencies[1].seconds), latencies[1].best_batch) == ([1], 1)


def test_published_errors_have_their_sources():
    for error in PUBLISHED_ERRORS.values():
        assert error.source
        assert error.how
        assert error.top1 or error.top5
        if error.top1 and error.top5:
            assert error.top1 > error.top5
    assert PUBLISHED_ERRORS["alexnet"].top5 == 15.3
    assert PUBLISHED_ERRORS["zfnet"].top5 == 14.8
    assert "11.2" in PUBLISHED_ERRORS["zfnet"].note
    assert "7.8;" in PUBLISHED_ERRORS["googlenet"].note
    assert "6.67" in PUBLISHED_ERRORS["googlenet"].note


def test_entries_and_networks_of_the_zoo_side_by_side(exported):
    place = EntryPlace(exported.path.parent.parent, "small")
    small, lenet5 = compare_networks([place, "lenet5_modern"], repeats=1, batch_sizes=(1, 2))
    assert (small.name, small.depth, small.receptive_field) == ("small", 2, (3, 3))
    assert small.model_bytes == (exported.path / "model.onnx").stat().st_size
    assert (lenet5.parameters, lenet5.receptive_field) == (61_706, (16, 16))
    assert (small.latency_ratio, small.best_ratio) == (1, 1)
    assert lenet5.latency_ratio == pytest.approx(lenet5.latency_ms / small.latency_ms)
    assert small.error is None
    assert small.gradient_norms == lenet5.gradient_norms == ()


def test_two_of_equal_depth_have_their_norms_compared(exported):
    place = EntryPlace(exported.path.parent.parent, "small")
    one, two = compare_networks([place, place], repeats=1, batch_sizes=(1,))
    assert len(one.gradient_norms) == 2
    assert one.gradient_norms == two.gradient_norms


def test_what_cannot_be_compared_is_told_before_anything_is_run(tiny_repository, tmp_path):
    with pytest.raises(UnknownModelError, match="did you mean 'lenet5'"):
        compare_networks(["lenet5_modern", "lenet55"])
    file = tiny_repository / "double" / "1" / "model.onnx"
    add_model(file, repository=tmp_path, name="double")
    with pytest.raises(OriginalError, match="double has no PyTorch original"):
        compare_networks([EntryPlace(tmp_path, "double")])


NETWORK = ComparedNetwork(
    name="one", parameters=1000, macs=10**6, depth=3, receptive_field=(3, 3), model_bytes=4000,
    latency_ms=1.0, latency_ratio=1.0, best_batch=4, best_ms=0.5, best_ratio=1.0,
    error=PUBLISHED_ERRORS["vgg16"],
)  # fmt: skip


def _inked(path, color):
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return pixels.shape, int((np.abs(pixels - color).sum(2) < 12).sum())


def test_the_picture_has_a_disc_for_each_network(tmp_path):
    other = replace(NETWORK, name="two", parameters=10, macs=10**8, error=PUBLISHED_ERRORS["vgg11"])
    draw_comparison([NETWORK, other], tmp_path / "two.png")
    # Discs are blue and orange at an alpha of 0.6 on white; areas go with the parameters.
    shape, blue = _inked(tmp_path / "two.png", (121, 173, 210))
    _, orange = _inked(tmp_path / "two.png", (255, 178, 110))
    assert shape == (660, 960, 3)
    assert blue > 10 * orange > 0


def test_names_of_equal_networks_do_not_cover_each_other():
    figure = Figure(figsize=(4, 4))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _draw_scatter(axes, [replace(NETWORK, name=f"network {number}") for number in range(6)])
    boxes = [label.get_window_extent() for label in axes.texts if label.get_text()]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_a_network_without_an_error_is_a_line_at_its_cost(tmp_path):
    draw_comparison([NETWORK, replace(NETWORK, name="two", error=None)], tmp_path / "one.png")
    assert _inked(tmp_path / "one.png", (121, 173, 210))[1] > 0
    # Its letters alone are orange.
    assert _inked(tmp_path / "one.png", (255, 178, 110))[1] < 200


def test_norms_are_a_second_picture_beside_it(tmp_path):
    # What has vanished is drawn too, along the lower edge.
    norms = [replace(NETWORK, gradient_norms=each) for each in ((0.0, 0.0, 0.0), (0.1, 1.0, 3.0))]
    draw_comparison(norms, tmp_path / "norms.png")
    assert _inked(tmp_path / "norms.png", (31, 119, 180))[0] == (660, 1680, 3)
    assert _inked(tmp_path / "norms.png", (31, 119, 180))[1] > 0
