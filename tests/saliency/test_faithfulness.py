"""Deletion, insertion, pointing and sanity checks, by hand and against SciPy."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from tests.saliency import networks

from eyespot.saliency import ArgumentError, LayerError, UnavailableMethodError, find_method
from eyespot.saliency.faithfulness import (
    MethodToEvaluate,
    Objects,
    evaluate_faithfulness,
)
from eyespot.saliency.faithfulness.deletion_insertion import (
    areas,
    blur,
    deletion_curves,
    insertion_curves,
    pixel_ranks,
)
from eyespot.saliency.faithfulness.pointing_game import accuracy, hits
from eyespot.saliency.faithfulness.sanity_checks import cascade, cascade_places, rank_correlation
from eyespot.saliency.torch_backend.randomisation import nudge


class LinearScorer:
    """z = (w x, 0) of pictures (B, 1, 2, 2), so that the probability of class 0 is known."""

    name = "linear"
    output_shape = (2,)
    channel_axis = 1
    weights = np.array([[3.0, -1.0], [0.5, 0.25]])

    def __init__(self, rows=100):
        self.rows = rows
        self.seen = []

    def rows_at_once(self, row_shape):
        return self.rows

    def scores(self, x):
        self.seen.append(x)
        z = (x[:, 0] * self.weights).sum((1, 2))
        return np.stack([z, np.zeros_like(z)], 1).astype(np.float32)


def probability(*terms):
    return 1 / (1 + np.exp(-np.array(terms)))


PICTURES = np.array([[[[1, 2], [3, 4]]], [[[4, 0], [0, 8]]]], np.float32)
MAPS = (PICTURES * LinearScorer.weights)[:, 0].astype(np.float32)  # what each pixel adds
CLASSES = np.array([0, 0])


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_deletion_of_a_linear_network_takes_its_terms_away_one_by_one(rows):
    scorer = LinearScorer(rows)
    curves = deletion_curves(scorer, PICTURES, MAPS, CLASSES, steps=4, baseline=0.0, seed=0)
    # The terms are 3, 1.5, 1, -2 and 12, 2, 0, 0, the largest first.
    expected = [probability(3.5, 0.5, -1, -2, 0), probability(14, 2, 0, 0, 0)]
    np.testing.assert_allclose(curves, expected, atol=1e-6)
    assert max(map(len, scorer.seen)) <= rows


def test_the_baseline_may_differ_by_channel():
    class Two(LinearScorer):
        def scores(self, x):
            z = (x * np.array([1.0, 10.0]).reshape(1, 2, 1, 1)).sum((1, 2, 3))
            return np.stack([z, np.zeros_like(z)], 1).astype(np.float32)

    x = np.zeros((1, 2, 1, 1), np.float32)
    maps = np.zeros((1, 1, 1), np.float32)
    baseline = np.array([0.5, 0.25])
    curves = deletion_curves(Two(), x, maps, CLASSES[:1], steps=1, baseline=baseline, seed=0)
    np.testing.assert_allclose(curves, [probability(0, 0.5 + 2.5)], atol=1e-6)


def test_steps_take_nearly_as_many_pixels_each():
    curves = deletion_curves(
        LinearScorer(), PICTURES[:1], MAPS[:1], CLASSES[:1], steps=2, baseline=0.0, seed=0
    )
    np.testing.assert_allclose(curves, [probability(3.5, -1, 0)], atol=1e-6)


def test_insertion_begins_with_the_blurred_picture():
    curves = insertion_curves(LinearScorer(), PICTURES[:1], MAPS[:1], CLASSES[:1], steps=4, seed=0)
    # Two pixels see each other with exp(-1 / 50) of their own weight.
    near = 1 / (1 + np.exp(-0.02))
    far = 1 - near
    blurred = [
        [
            near * (near * 1 + far * 2) + far * (near * 3 + far * 4),
            near * (far * 1 + near * 2) + far * (far * 3 + near * 4),
        ],
        [
            far * (near * 1 + far * 2) + near * (near * 3 + far * 4),
            far * (far * 1 + near * 2) + near * (far * 3 + near * 4),
        ],
    ]
    terms = (np.array(blurred) * LinearScorer.weights).ravel()
    steps = [terms.sum()]
    for place, term in ((0, 3), (2, 1.5), (3, 1), (1, -2)):
        steps.append(steps[-1] - terms[place] + term)
    np.testing.assert_allclose(curves, [probability(*steps)], atol=1e-6)


def test_the_blur_is_a_gaussian_of_11_taps():
    x = np.random.default_rng(0).random((1, 20, 24, 1), np.float32)
    expected = scipy.ndimage.gaussian_filter(x[0, ..., 0], 5, radius=5)
    # At an edge ours weighs what is inside; SciPy reflects.
    np.testing.assert_allclose(blur(x, 3)[0, 5:-5, 5:-5, 0], expected[5:-5, 5:-5], rtol=1e-5)
    np.testing.assert_allclose(blur(np.ones_like(x), 3), np.ones_like(x), rtol=1e-6)


def test_where_whole_numbers_are_taken_whole_numbers_are_given():
    scorer = LinearScorer()
    x = PICTURES[:1].astype(np.uint8)
    deletion_curves(scorer, x, MAPS[:1], CLASSES[:1], steps=4, baseline=126.6, seed=0)
    insertion_curves(scorer, x, MAPS[:1], CLASSES[:1], steps=4, seed=0)
    assert {part.dtype for part in scorer.seen} == {np.dtype(np.uint8)}
    assert (scorer.seen[0][-1] == 127).all()


def test_the_area_is_the_trapezoidal_rule():
    curves = np.array([[1.0, 0.5, 0.0], [1, 1, 1], [0, 0, 1]])
    np.testing.assert_allclose(areas(curves), [0.5, 1, 0.25])


def test_equal_values_are_ordered_by_chance_and_the_seed():
    maps = np.zeros((1, 8, 8), np.float32)
    maps[0, 3, 3] = 1
    first, same, other = (pixel_ranks(maps, seed=seed) for seed in (1, 1, 2))
    assert first[0, 3, 3] == other[0, 3, 3] == 0
    assert sorted(first.ravel()) == list(range(64))
    assert (first == same).all()
    assert (first != other).any()
    assert first.ravel().tolist() != sorted(first.ravel())


def test_a_map_hits_within_15_of_224_pixels():
    regions = np.zeros((6, 448, 600), bool)
    regions[:, 100:200, 300:400] = True
    maps = np.zeros(regions.shape, np.float32)
    # 30 pixels of 448; from the corner (199, 399) by 18 and 24 is 30, by 22 and 22 is more.
    for number, place in enumerate([(150, 350), (229, 350), (230, 350), (217, 423), (221, 421)]):
        maps[number][place] = 1
    maps[5, 150, 350] = maps[5, 0, 0] = 1  # two peaks, one of them on the object
    np.testing.assert_array_equal(hits(maps, regions), [1, 1, 0, 1, 0, 0.5])


def test_a_blank_map_hits_as_often_as_chance():
    region = np.zeros((1, 8, 8), bool)
    region[0, :2, 6:] = True  # the tolerance is half a pixel of 8: none
    assert hits(np.zeros((1, 8, 8), np.float32), region) == [4 / 64]


def test_the_accuracy_is_the_mean_over_classes():
    # Class 3 has 3 of 4, class 1 has none of one.
    assert accuracy(np.array([1.0, 1, 1, 0, 0]), np.array([3, 3, 3, 3, 1])) == 0.375


def test_rank_correlation_is_spearmans():
    random = np.random.default_rng(0)
    ours, theirs = random.integers(0, 6, (2, 4, 5, 7)).astype(np.float32)  # with many ties
    expected = [
        scipy.stats.spearmanr(one.ravel(), other.ravel()).statistic
        for one, other in zip(ours, theirs, strict=True)
    ]
    np.testing.assert_allclose(rank_correlation(ours, theirs), expected, atol=1e-12)
    np.testing.assert_allclose(rank_correlation(ours, ours**3), 1)


def test_a_map_that_says_nothing_is_like_none():
    maps = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    broken = maps.copy()
    broken[0, 0, 0], broken[1] = np.nan, 4
    assert rank_correlation(maps, broken).tolist() == [0, 0]


def test_a_cascade_ends_at_both_ends():
    assert cascade_places(5, 10) == [0, 1, 2, 3, 4]
    assert cascade_places(9, 3) == [0, 4, 8]
    assert cascade_places(9, 1) == [8]
    assert cascade_places(9, 0) == cascade_places(0, 9) == []


def test_randomised_weights_are_the_layers_own_in_another_order(capture):
    backend = capture(networks.Resnet(), torch.zeros(2, 3, 32, 32))
    # The norms join the convolutions before them.
    assert backend.weight_layers() == (
        "stem.0", "blocks.0.first", "blocks.0.second", "blocks.1.first", "blocks.1.second", "head",
    )  # fmt: skip
    before = [value.clone() for value in backend._weights]
    other = backend.randomised(["blocks.0.first", "head"], seed=0)
    changed = {
        spec
        for spec, (ours, theirs) in enumerate(zip(before, other._weights, strict=True))
        if not torch.equal(ours, theirs)
    }
    [block, head] = [backend._weight_layers[number].places for number in (1, 5)]
    assert len(block) == 3  # the kernel, and the norm's weight and bias
    assert changed == {*block, *head}
    for ours, theirs in zip(before, other._weights, strict=True):
        assert torch.equal(ours.flatten().sort().values, theirs.flatten().sort().values)
    for ours, theirs in zip(before, backend._weights, strict=True):
        assert torch.equal(ours, theirs)
    again = backend.randomised(["head"], seed=0).randomised(["blocks.0.first"], seed=0)
    for ours, theirs in zip(other._weights, again._weights, strict=True):
        assert torch.equal(ours, theirs)
    different = backend.randomised(["head"], seed=1)
    assert not torch.equal(different._weights[head[0]], other._weights[head[0]])


def test_randomising_the_top_layer_leaves_what_is_below(capture, explain):
    backend = capture(networks.TwoLayers(), torch.zeros(2, 2))
    x, classes = [[1.0, 2.0], [2.0, 1.0]], [0, 1]
    before = explain("saliency", backend, x, classes).attributions
    assert backend.weight_layers() == ("first", "second")  # of parameters without a module
    [(layer, other), _] = cascade(backend, steps=2, seed=3)
    assert layer == "second"
    [second] = [value.numpy() for value in other._weights if value.shape == (2, 2)][1:]
    assert sorted(second.ravel()) == [-1, 2, 3, 5]
    # relu(U x) is (3, 0) and (3, 1): the gradients are V'[0, 0] (1, 1) and V'[1] U.
    expected = [[second[0, 0]] * 2, [second[1].sum(), second[1, 0] - second[1, 1]]]
    np.testing.assert_allclose(explain("saliency", other, x, classes).attributions, expected)
    np.testing.assert_array_equal(explain("saliency", backend, x, classes).attributions, before)


def test_nudged_weights_are_the_numbers_next_to_what_they_were():
    values = torch.randn(40, generator=torch.Generator().manual_seed(1))
    before = values.clone()
    floats, integers = nudge([values, torch.arange(3)], seed=2)
    ulps = floats.view(torch.int32) - values.view(torch.int32)
    assert set(ulps.tolist()) == {-1, 1}
    assert integers.tolist() == [0, 1, 2]
    assert torch.equal(values, before)


def test_an_unknown_layer_cannot_be_randomised(capture):
    backend = capture(networks.TwoLayers(), torch.zeros(2, 2))
    with pytest.raises(LayerError, match="no layer 'third' has weights; there are first, second"):
        backend.randomised(["third"], seed=0)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).random((3, 3, 16, 16), np.float32)


def asked(*names):
    return [MethodToEvaluate(name, find_method(name), {}) for name in names]


def test_an_evaluation_has_every_method_and_two_kinds_of_chance(capture, pictures):
    backend = capture(networks.vgg(), torch.zeros(2, 3, 16, 16), "input", memory_mib=1)
    top = backend.scores(pictures).argmax(1)
    regions = np.ones((2, 16, 16), bool)
    objects = Objects(np.array([2, 0]), np.array([-1, (top[0] + 1) % 5]), regions)
    told = []
    found = evaluate_faithfulness(
        backend, pictures, asked("saliency", "grad_cam"), backend=backend, objects=objects,
        steps=4, cascade_steps=2, progress=told.append,
    )  # fmt: skip
    assert found.classes.tolist() == top.tolist()
    assert found.layers == ("11", "0")
    names = ["saliency", "grad_cam", "random pixels", "random patches"]
    assert [method.name for method in found.methods] == names
    softmax = torch.softmax(torch.from_numpy(backend.scores(pictures)), 1).numpy()
    for method in found.methods:
        assert method.deletion.shape == method.insertion.shape == (3, 5)
        # Both tell of the whole picture.
        np.testing.assert_allclose(method.deletion[:, 0], softmax.max(1), rtol=1e-4)
        np.testing.assert_allclose(method.insertion[:, -1], softmax.max(1), rtol=1e-4)
        assert method.hits.tolist() == [1, 1]  # everything is the object
        assert method.accuracy == 1
    saliency, *_, chance = found.methods
    assert saliency.signed.shape == saliency.magnitudes.shape == (2, 3)
    assert abs(saliency.signed[-1]).max() < 0.5
    assert chance.signed is None
    assert "saliency: random weights down to 0 (2 of 2)" in told


def test_a_cascade_that_passes_layers_over_randomises_them_too(capture, pictures):
    backend = capture(networks.vgg(), torch.zeros(2, 3, 16, 16), "input")
    names = backend.weight_layers()
    assert names == ("0", "2", "5", "9", "11")
    trained = backend.scores(pictures)
    networks_of = dict(cascade(backend, steps=3, seed=0))
    for lowest, layers in (("11", names[4:]), ("5", names[2:]), ("0", names)):
        expected = backend.randomised(layers, seed=0).scores(pictures)
        np.testing.assert_array_equal(networks_of[lowest].scores(pictures), expected)
    np.testing.assert_array_equal(backend.scores(pictures), trained)


def test_the_object_of_another_class_is_pointed_at_by_its_own_map(capture):
    # A picture of two channels, each of which one class sees at a place of its own.
    backend = capture(networks.Pooled([[1.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 2, 4, 4))
    x = np.zeros((1, 2, 4, 4), np.float32)
    x[0, 0, 0, 0], x[0, 1, 3, 3] = 2, 1
    regions = np.zeros((2, 4, 4), bool)
    regions[:, 3, 3] = True
    objects = Objects(np.array([0, 0]), np.array([-1, 1]), regions)
    found = evaluate_faithfulness(
        backend, x, asked("input_x_gradient"), backend=backend, objects=objects, steps=1,
        cascade_steps=0,
    )  # fmt: skip
    assert found.methods[0].hits.tolist() == [0, 1]
    assert found.methods[0].signed is None


def test_without_gradients_there_is_occlusion_but_no_sanity_check():
    scorer = LinearScorer()
    found = evaluate_faithfulness(scorer, PICTURES, asked("occlusion"), steps=2)
    assert found.layers == ()
    assert found.methods[0].signed is None
    with pytest.raises(UnavailableMethodError, match="saliency needs gradients"):
        evaluate_faithfulness(scorer, PICTURES, asked("saliency"))


def test_a_network_that_is_no_classifier_is_refused(capture):
    backend = capture(networks.Segmentation(), torch.zeros(2, 3, 8, 8))
    with pytest.raises(ArgumentError, match="expected a vector of at least 2 logits"):
        evaluate_faithfulness(
            backend, np.zeros((1, 3, 8, 8), np.float32), asked("saliency"), backend=backend
        )
