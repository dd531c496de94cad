"""Outputs that are no logits of one class, sizes that vary, and the bound of memory."""

import numpy as np
import pytest
import torch
from tests.saliency.networks import Resnet, Segmentation, Sequence, vgg
from torch.profiler import ProfilerActivity, profile

from eyespot.saliency import MemoryBoundError, Objective, Targets
from eyespot.saliency.torch_backend import TorchBackend


def pictures(rows=2, height=8, width=8):
    return np.random.default_rng(0).standard_normal((rows, 3, height, width)).astype(np.float32)


def autograd(module, x, number_of):
    leaf = torch.from_numpy(x).requires_grad_()
    total = number_of(module(leaf))
    return torch.autograd.grad(total, leaf)[0].numpy()


def test_a_region_of_a_segmentation(capture):
    module, x = Segmentation().eval(), pictures()
    backend = capture(module, torch.zeros(2, 3, 8, 8))
    assert backend.output_shape == (4, 8, 8)
    region = np.zeros((2, 8, 8), bool)
    region[:, 2:5, 3:] = True
    targets = Targets(np.array([1, 3]), regions=region)
    found = backend.gradients(x, Objective(targets))
    expected = autograd(module, x, lambda z: z[0, 1, 2:5, 3:].mean() + z[1, 3, 2:5, 3:].mean())
    np.testing.assert_allclose(found.gradients, expected, atol=1e-6)


def test_where_the_class_is_predicted(capture):
    module, x = Segmentation().eval(), pictures()
    found = capture(module, torch.zeros(2, 3, 8, 8)).gradients(
        x, Objective(Targets(np.array([1, -1])))
    )
    with torch.no_grad():
        predicted = module(torch.from_numpy(x)).argmax(1)
    top = predicted[1].flatten().bincount().argmax().item()
    assert found.classes.tolist() == [1, top]
    expected = autograd(
        module,
        x,
        lambda z: z[0, 1][predicted[0] == 1].mean() + z[1, top][predicted[1] == top].mean(),
    )
    np.testing.assert_allclose(found.gradients, expected, atol=1e-6)


def test_a_step_of_a_sequence(capture):
    module, x = Sequence().eval(), pictures(width=6)
    backend = capture(module, torch.zeros(2, 3, 8, 6))
    assert backend.output_shape == (6, 4)
    targets = Targets(np.array([2, 0]), steps=np.array([5, 1]))
    found = backend.gradients(x, Objective(targets))
    expected = autograd(module, x, lambda z: z[0, 5, 2] + z[1, 1, 0])
    np.testing.assert_allclose(found.gradients, expected, atol=1e-6)
    # A column of the picture speaks for the steps beside it only.
    assert np.abs(found.gradients[1, :, :, 0:3]).min() > 0
    assert not found.gradients[1, :, :, 3:].any()


def test_the_similarity_to_an_embedding(capture):
    module, x = Resnet(), pictures(height=32, width=32)
    backend = capture(module, torch.zeros(2, 3, 32, 32))
    other = np.random.default_rng(1).standard_normal((2, 5)).astype(np.float32)
    found = backend.gradients(x, Objective(Targets(np.array([-1, -1]), embeddings=other)))
    similar = torch.nn.functional.cosine_similarity
    expected = autograd(module, x, lambda z: similar(z, torch.from_numpy(other)).sum())
    np.testing.assert_allclose(found.gradients, expected, atol=1e-6)
    with torch.no_grad():
        cosine = similar(module(torch.from_numpy(x)), torch.from_numpy(other))
    np.testing.assert_allclose(found.scores, cosine.numpy(), rtol=1e-5)


def test_height_and_width_may_vary(save_original, explain):
    module = Segmentation().eval()
    path = save_original(module, torch.zeros(2, 3, 8, 10), dynamic=(0, 2, 3))
    backend = TorchBackend.load(path, gradient_node="x", memory_mib=64)
    assert backend.output_shape == (4, None, None)
    for height, width in ((8, 8), (11, 5)):
        x = pictures(height=height, width=width)
        found = explain("saliency", backend, x, [0, 1])
        with torch.no_grad():
            predicted = module(torch.from_numpy(x)).argmax(1)
        expected = autograd(
            module,
            x,
            lambda z, p=predicted: z[0, 0][p[0] == 0].mean() + z[1, 1][p[1] == 1].mean(),
        )
        np.testing.assert_allclose(found.attributions, expected, atol=1e-6)
        assert explain("grad_cam", backend, x, [0, 1]).attributions.shape == (2, 1, height, width)


def test_a_row_that_cannot_fit_is_told_what_it_takes(capture):
    backend = capture(vgg(), torch.zeros(2, 3, 16, 16), "input", memory_mib=1)
    assert backend.rows_at_once((3, 16, 16)) == 15
    backend._bytes_per_row = lambda row_shape: 3 * 2**20
    with pytest.raises(MemoryBoundError, match=r"takes about 3 MiB .* 1 MiB are allowed"):
        backend.gradients(pictures(height=16, width=16), Objective(Targets(np.array([0, 0]))))


@pytest.mark.parametrize(
    ("sizes", "rows"),
    # 10 rows of ImageNet's size have 1,505,280 elements: 19.6 times those of 3 x 160 x 160.
    [((3, 224, 224), 10), ((3, 448, 448), 10), ((3, 160, 160), 19), ((3, 32, 32), 64)],
)
def test_a_step_has_as_many_elements_whatever_the_size(capture, sizes, rows):
    backend = capture(vgg(), torch.zeros(2, 3, 16, 16), "input")
    assert backend.rows_at_once(sizes) == rows


def test_rows_beyond_the_bound_go_one_after_the_other(capture):
    x = pictures(rows=5, height=16, width=16)
    objective = Objective(Targets(np.array([0, 1, 2, 3, 4])))
    free = capture(vgg(), torch.zeros(2, 3, 16, 16), "input")
    bound = capture(vgg(), torch.zeros(2, 3, 16, 16), "input", memory_mib=1)
    bound._bytes_per_row = lambda row_shape: 2**19
    seen = []
    run = bound._variant("derivative", None)
    bound._variant = lambda *_: lambda *args: seen.append(len(args[-1])) or run(*args)
    found, expected = bound.gradients(x, objective), free.gradients(x, objective)
    assert seen == [2, 2, 1]
    np.testing.assert_allclose(found.gradients, expected.gradients, atol=1e-7)
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_allclose(bound.scores(x), free.scores(x), atol=1e-6)


def test_baselines_take_their_share_of_the_bound(capture):
    x, targets = pictures(rows=3, height=16, width=16), Targets(np.array([0, 1, 2]))
    free = capture(vgg(), torch.zeros(2, 3, 16, 16), "input")
    bound = capture(vgg(), torch.zeros(2, 3, 16, 16), "input", memory_mib=1)
    bound._bytes_per_row = lambda row_shape: 2**18
    seen = []
    run = bound._variant("rescale", None)
    bound._variant = lambda *_: lambda *args: seen.append(len(args[-1])) or run(*args)
    found = bound.multipliers(x, np.zeros_like(x), Objective(targets))
    assert seen == [4, 2]
    expected = free.multipliers(x, np.zeros_like(x), Objective(targets))
    np.testing.assert_allclose(found.gradients, expected.gradients, atol=1e-6)
    np.testing.assert_allclose(found.baseline_scores, expected.baseline_scores, atol=1e-6)


@pytest.mark.parametrize("build", [vgg, Resnet])
def test_the_estimate_of_memory_is_from_above_and_not_far(capture, build):
    size, rows = (16, 32) if build is vgg else (32, 32)
    name = "input" if build is vgg else "x"
    backend = capture(build(), torch.zeros(2, 3, size, size), name)
    x = pictures(rows, size, size)
    objective = Objective(Targets(np.zeros(rows, np.int64)))
    backend.gradients(x, objective)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        backend.gradients(x, objective)
    allocated = most = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            allocated += event.nbytes()
            most = max(most, allocated)
    estimate = rows * backend._bytes_per_row((3, size, size))
    assert most <= estimate <= 3 * most
