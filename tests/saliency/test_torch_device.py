"""Where the captured program is computed, and what happens when memory is short there."""

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from eyespot.saliency import Objective, Targets
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.saliency.torch_backend.device import find_device


class Positional(nn.Module):
    """Has weights, a buffer and a constant, and makes a tensor anew in each pass."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.convolution = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.scale = torch.tensor([1.0, 2.0, 3.0])

    def forward(self, x):
        maps = torch.tanh(self.norm(self.convolution(x)))  # (B, 3, 4, 4)
        rising = torch.arange(4, dtype=torch.float32, device=x.device)  # (4,)
        return (maps * rising).sum((2, 3)) * self.scale  # (B, 3)


class ShortMemory(TorchDispatchMode):
    """Convolutions of more rows than there is memory for fail as on a device."""

    def __init__(self, rows):
        super().__init__()
        self._rows = rows
        self.tried = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution.default:
            self.tried.append(len(args[0]))
            if len(args[0]) > self._rows:
                raise torch.OutOfMemoryError("CUDA out of memory.")
        return function(*args, **(kwargs or {}))


@pytest.fixture
def path(save_original):
    return save_original(Positional(), torch.zeros(2, 1, 6, 6))


def rows(count):
    return np.random.default_rng(0).standard_normal((count, 1, 6, 6)).astype(np.float32)


def objective(count):
    return Objective(Targets(np.arange(count) % 3))


def test_a_device_that_pytorch_cannot_use_leaves_the_cpu_and_is_told_once(path, caplog):
    find_device.cache_clear()
    with caplog.at_level(logging.INFO, logger="eyespot"):
        backends = [
            TorchBackend.load(path, gradient_node="x", device=device)
            for device in ("cpu", "cuda:99", "cuda:99")
        ]
    (told,) = caplog.messages
    assert told.startswith("PyTorch explains on the CPU and not on cuda:99: ")
    expected, *found = [each.gradients(rows(2), objective(2)).gradients for each in backends]
    for each in found:
        np.testing.assert_array_equal(each, expected)


def test_everything_of_a_program_goes_to_its_device(path):
    """The meta device has no numbers: only what is asked back from it fails."""
    program = torch.export.load(path)
    backend = TorchBackend(program, gradient_node="x", device=torch.device("meta"))
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        backend.scores(rows(2))
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        backend.nudged(seed=1).gradients(rows(2), objective(2))


def test_rows_that_do_not_fit_are_halved(path, caplog):
    backend = TorchBackend.load(path, gradient_node="x")
    expected = backend.gradients(rows(7), objective(7))
    scores = backend.scores(rows(7))
    with ShortMemory(2) as memory:
        found = backend.gradients(rows(7), objective(7))
        assert memory.tried == [7, 3, 1, 1, 1, 1, 1, 1, 1]
        np.testing.assert_allclose(backend.scores(rows(4)), scores[:4], rtol=1e-5)
    np.testing.assert_allclose(found.gradients, expected.gradients, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.classes, expected.classes)
    assert caplog.messages[0] == "memory did not suffice for 7 rows at once"


def test_baselines_are_halved_with_their_rows(path):
    backend = TorchBackend.load(path, gradient_node="x")
    expected = backend.multipliers(rows(4), np.zeros_like(rows(4)), objective(4))
    with ShortMemory(4) as memory:
        found = backend.multipliers(rows(4), np.zeros_like(rows(4)), objective(4))
    assert memory.tried == [8, 4, 4]
    np.testing.assert_allclose(found.gradients, expected.gradients, rtol=1e-5, atol=1e-6)


def test_a_row_that_does_not_fit_alone_is_told(path):
    backend = TorchBackend.load(path, gradient_node="x")
    with ShortMemory(0), pytest.raises(torch.OutOfMemoryError):
        backend.gradients(rows(3), objective(3))
