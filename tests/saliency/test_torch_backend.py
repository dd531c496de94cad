"""The captured program gives what the eager module gives, bit for bit."""

import threading
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from eyespot.saliency import (
    SCORES,
    TOP_CLASS,
    ArgumentError,
    Objective,
    OriginalError,
    TargetError,
    Targets,
    UnknownScoreError,
)
from eyespot.saliency.torch_backend import TorchBackend


class Convolutional(nn.Module):
    """What captures differ in: batch norm, a rectifier as function, in place, and reused."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.first = nn.Conv2d(3, 6, 3, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.rectifier = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(6, 4)
        nn.init.uniform_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x):
        x = self.rectifier(self.norm(self.first(x)))
        x = nn.functional.max_pool2d(nn.functional.relu(self.second(x) + x), 2)
        return self.head(self.dropout(self.rectifier(x).mean((2, 3))))


class RectifiesItsInput(nn.Module):
    """Writes into what it is given."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.relu_(x))


class Pixels(nn.Module):
    """Takes UINT8 (B, H, W, C) and normalises inside."""

    def __init__(self):
        super().__init__()
        self.network = Convolutional()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]), persistent=False)

    def forward(self, image):
        return self.of_pixels(image.to(torch.float32))

    def of_pixels(self, pixels):
        return self.network((pixels / 255 - self.mean).permute(0, 3, 1, 2))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def differentiate(backend, x, classes, score="logit"):
    return backend.gradients(x, Objective(Targets(np.asarray(classes)), score))


def eager(function, x, targets, score):
    """Logits, scores and gradients by autograd, each score written out."""
    leaf = torch.from_numpy(x.astype(np.float32)).requires_grad_()
    logits = function(leaf * 1)
    rows = torch.arange(len(x))
    chosen = logits[rows, targets]
    keep = torch.ones_like(logits, dtype=torch.bool)
    keep[rows, targets] = False
    others = logits[keep].reshape(len(x), -1)
    binary = chosen - torch.logsumexp(others, 1)
    scores = {
        "logit": chosen,
        "probability": torch.softmax(logits, 1)[rows, targets],
        "binary_logit": binary,
        "binary_probability": torch.sigmoid(binary),
    }[score]
    (gradients,) = torch.autograd.grad(scores.sum(), leaf)
    return logits.detach().numpy(), scores.detach().numpy(), gradients.numpy()


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_logits_and_gradients_are_the_eager_ones(capture, rows):
    module = Convolutional().eval()
    backend = capture(module, torch.zeros(2, 3, 9, 9))
    x, targets = noise(rows, 3, 9, 9), np.arange(rows) % 4
    logits, scores, gradients = eager(module, x, targets, "logit")
    found = differentiate(backend, x, targets, "logit")
    np.testing.assert_array_equal(backend.scores(x), logits)
    np.testing.assert_array_equal(found.scores, scores)
    np.testing.assert_array_equal(found.gradients, gradients)
    np.testing.assert_array_equal(backend.scores(x), logits)


@pytest.mark.parametrize("score", SCORES)
def test_each_score_is_what_autograd_makes_of_it(capture, score):
    module = Convolutional().eval()
    backend = capture(module, torch.zeros(2, 3, 9, 9))
    x, targets = noise(3, 3, 9, 9), np.array([3, 0, 1])
    _, scores, gradients = eager(module, x, targets, score)
    found = differentiate(backend, x, targets, score)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-6)
    np.testing.assert_allclose(found.gradients, gradients, rtol=1e-4, atol=1e-9)


def test_pixels_are_differentiated_after_the_cast(capture):
    module = Pixels().eval()
    backend = capture(module, torch.zeros(2, 9, 9, 3, dtype=torch.uint8), "to")
    x = np.random.default_rng(2).integers(0, 256, (3, 9, 9, 3), dtype=np.uint8)
    logits, _, gradients = eager(module.of_pixels, x, [1, 2, 3], "logit")
    found = differentiate(backend, x, np.array([1, 2, 3]), "logit")
    np.testing.assert_array_equal(backend.scores(x), logits)
    np.testing.assert_array_equal(found.gradients, gradients)
    assert found.gradients.shape == x.shape
    assert found.gradients.flags.c_contiguous


def test_the_top_class_is_that_of_each_row(capture):
    module = Convolutional().eval()
    backend = capture(module, torch.zeros(2, 3, 9, 9))
    x = noise(6, 3, 9, 9) * 5
    found = differentiate(backend, x, np.array([TOP_CLASS] * 5 + [2]), "logit")
    np.testing.assert_array_equal(found.classes[:5], backend.scores(x)[:5].argmax(1))
    assert found.classes[5] == 2
    named = differentiate(backend, x, found.classes, "logit")
    np.testing.assert_array_equal(found.gradients, named.gradients)


def test_a_network_that_writes_into_its_input_is_explained_and_spares_the_array(capture):
    module = RectifiesItsInput().eval()
    backend = capture(module, torch.zeros(2, 4))
    x = np.array([[-1, 2, -3, 4]], np.float32)
    before = x.copy()
    found = differentiate(backend, x, np.array([1]), "logit")
    backend.scores(x)
    np.testing.assert_array_equal(x, before)
    row = module.head.weight.detach().numpy()[1]
    np.testing.assert_array_equal(found.gradients, [[0, row[1], 0, row[3]]])


def test_read_only_arrays_do(capture):
    backend = capture(Convolutional(), torch.zeros(2, 3, 9, 9))
    x = np.frombuffer(noise(1, 3, 9, 9).tobytes(), np.float32).reshape(1, 3, 9, 9)
    differentiate(backend, x, np.array([0]), "logit")
    backend.scores(x)


def test_nothing_stays_behind_and_no_weight_asks_for_a_gradient(capture):
    backend = capture(Convolutional(), torch.zeros(2, 3, 9, 9))
    x = noise(2, 3, 9, 9)
    first = differentiate(backend, x, np.array([0, 1]), "logit")
    with pytest.raises(TargetError):
        differentiate(backend, x, np.array([0, 9]), "logit")
    again = differentiate(backend, x, np.array([0, 1]), "logit")
    np.testing.assert_array_equal(first.gradients, again.gradients)
    for weight in backend._weights:
        assert weight.grad is None
        assert not weight.requires_grad


def test_threads_do_not_disturb_each_other(capture):
    backend = capture(Convolutional(), torch.zeros(2, 3, 9, 9))
    inputs = [noise(2, 3, 9, 9, seed=seed) for seed in range(8)]
    targets = np.array([1, 2])
    expected = [differentiate(backend, x, targets, "logit").gradients for x in inputs]
    found = [None] * len(inputs)

    def explain(index):
        for _ in range(5):
            found[index] = differentiate(backend, inputs[index], targets).gradients

    threads = [threading.Thread(target=explain, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found, expected)


class Operators(TorchDispatchMode):
    """Counts the operators that compute or copy; a view does neither."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not function.is_view:
            self.counts[str(function)] += 1
        return function(*args, **(kwargs or {}))


def test_a_gradient_costs_no_operator_more_than_it_costs_by_hand(capture):
    backend = capture(Convolutional(), torch.zeros(2, 3, 8, 8))
    x = noise(3, 3, 8, 8)
    with Operators() as ours:
        differentiate(backend, x, [0, 1, 2])
    module = Convolutional().eval()
    with Operators() as by_hand:
        leaf = torch.from_numpy(x).requires_grad_()
        logits = module(leaf)
        begin = torch.nn.functional.one_hot(torch.tensor([0, 1, 2]), 4).float()
        torch.autograd.grad(logits, leaf, begin)
    assert by_hand.counts["aten.convolution_backward.default"] == 2
    assert not ours.counts - by_hand.counts


def test_the_number_of_threads_holds_on_the_calling_thread(save_original):
    path = save_original(Convolutional(), torch.zeros(2, 3, 9, 9))
    backend = TorchBackend.load(path, gradient_node="x", num_threads=1)
    seen = []

    def explain():
        torch.set_num_threads(2)
        backend.scores(noise(1, 3, 9, 9))
        seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    thread = threading.Thread(target=explain)
    thread.start()
    thread.join()
    torch.set_num_threads(before)
    assert seen == [1]


@pytest.mark.parametrize("targets", [[4, 0], [-5, 0], [0], [0, 1, 2]])
def test_impossible_targets_are_typed(capture, targets):
    backend = capture(Convolutional(), torch.zeros(2, 3, 9, 9))
    with pytest.raises(TargetError, match=r"classes 0 to 3|one target for each of 2 rows"):
        differentiate(backend, noise(2, 3, 9, 9), np.array(targets), "logit")


def test_an_unknown_score_is_typed(capture):
    backend = capture(Convolutional(), torch.zeros(2, 3, 9, 9))
    with pytest.raises(UnknownScoreError, match="'logits'; expected one of logit, probability"):
        differentiate(backend, noise(1, 3, 9, 9), np.array([0]), "logits")


def test_a_lone_class_has_no_binary_score(capture):
    backend = capture(nn.Sequential(nn.Linear(4, 1)), torch.zeros(2, 4), "input")
    with pytest.raises(UnknownScoreError, match="one class: ask for logit"):
        differentiate(backend, noise(1, 4), np.array([0]), "binary_logit")


def test_an_input_of_another_type_is_refused(capture):
    backend = capture(Convolutional(), torch.zeros(2, 3, 9, 9))
    with pytest.raises(ArgumentError, match=r"torch.float32, found torch.uint8"):
        backend.scores(np.zeros((1, 3, 9, 9), np.uint8))


def test_a_gradient_node_that_does_not_exist_is_typed(save_original):
    path = save_original(Convolutional(), torch.zeros(2, 3, 9, 9))
    with pytest.raises(OriginalError, match="no node 'cast'"):
        TorchBackend.load(path, gradient_node="cast")


def test_integers_cannot_be_differentiated(save_original):
    path = save_original(Pixels(), torch.zeros(2, 9, 9, 3, dtype=torch.uint8))
    with pytest.raises(OriginalError, match="'image' holds no floating point numbers"):
        TorchBackend.load(path, gradient_node="image")


class Maps(nn.Module):
    def forward(self, x):
        return x * 2


def test_an_output_that_is_no_logits_is_typed(save_original):
    path = save_original(Maps(), torch.zeros(2, 3, 9, 9, 9))
    with pytest.raises(OriginalError, match=r"expected logits of shape \(batch, classes\)"):
        TorchBackend.load(path, gradient_node="x")
