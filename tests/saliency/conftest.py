import warnings

import pytest
import torch

from eyespot.saliency.torch_backend import TorchBackend


@pytest.fixture
def capture(tmp_path):
    """Captures a module as an export does, and loads it from the file."""

    def capture(module, sample, gradient_node="x"):
        path = save(module, sample, tmp_path / "original.pt2")
        return TorchBackend.load(path, gradient_node=gradient_node)

    return capture


def save(module, sample, path):
    program = torch.export.export(
        module.eval(), (sample,), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    program.example_inputs = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path)
    return path


@pytest.fixture
def save_original(tmp_path):
    return lambda module, sample: save(module, sample, tmp_path / "original.pt2")
