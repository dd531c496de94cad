import warnings

import numpy as np
import pytest
import torch

from eyespot.saliency import Objective, Targets, find_method
from eyespot.saliency.torch_backend import TorchBackend


@pytest.fixture
def capture(tmp_path):
    """Captures a module as an export does, and loads it from the file."""

    def capture(module, sample, gradient_node="x", **options):
        path = save(module, sample, tmp_path / "original.pt2")
        return TorchBackend.load(path, gradient_node=gradient_node, **options)

    return capture


def save(module, sample, path, dynamic=(0,)):
    names = {0: "batch", 2: "height", 3: "width"}
    sizes = {axis: torch.export.Dim(names[axis], min=1, max=1024) for axis in dynamic if axis}
    program = torch.export.export(
        module.eval(), (sample,), dynamic_shapes=({0: torch.export.Dim("batch"), **sizes},)
    )
    program.example_inputs = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path)
    return path


@pytest.fixture
def save_original(tmp_path):
    return lambda module, sample, **options: save(
        module, sample, tmp_path / "original.pt2", **options
    )


@pytest.fixture
def explain():
    """Runs a method to its end on plain lists."""

    def explain(method, backend, x, classes, *, score="logit", against=None, **parameters):
        against = None if against is None else np.asarray(against, np.int64)
        targets = Targets(np.asarray(classes, np.int64), against=against)
        x = np.asarray(x)
        x = x.astype(np.float32) if x.dtype.kind == "f" or x.dtype == np.int64 else x
        objective = Objective(targets, score)
        return find_method(method).explain(backend, x, objective, **parameters)

    return explain
