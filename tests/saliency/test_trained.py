"""Every method on a network with real weights and on real photographs: finite, and not blank."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eyespot.exporter.capture import capture as capture_program
from eyespot.exporter.capture import find_gradient_node
from eyespot.exporter.preprocessed import Preprocessed
from eyespot.saliency import METHODS, Objective, Targets
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.zoo import create_model, model_entry

FOLDER = Path(os.environ.get("EYESPOT_DATA", "nowhere"))
CHECKPOINT = FOLDER / "resnet20-12fca82f.th"


@pytest.fixture(scope="module")
def backend():
    if not CHECKPOINT.is_file():
        pytest.skip("EYESPOT_DATA names no folder with resnet20-12fca82f.th and cifar10/test")
    network = create_model("resnet20", weights=CHECKPOINT)
    module = Preprocessed(network, model_entry("resnet20").preprocessing).eval()
    program = capture_program(module, torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
    return TorchBackend(program, gradient_node=find_gradient_node(program), channel_axis=3)


@pytest.fixture(scope="module")
def pictures():
    classes = sorted(path for path in (FOLDER / "cifar10" / "test").iterdir() if path.is_dir())
    rule = model_entry("resnet20").preprocessing
    return np.stack([rule.apply(Image.open(sorted(folder.iterdir())[0])) for folder in classes])


@pytest.mark.parametrize("name", METHODS)
def test_maps_are_finite_and_not_blank(backend, pictures, name):
    parameters = {
        "rise": {"n_masks": 40},
        "smooth_grad": {"n_samples": 4},
        "integrated_gradients": {"n_steps": 10},
    }.get(name, {})
    classes = np.arange(10)
    # The class that it is, and one that it is not: a logit far below the others.
    for shift in (0, 5):
        objective = Objective(Targets((classes + shift) % 10))
        found = METHODS[name].explain(backend, pictures, objective, **parameters)
        assert found.attributions.shape[:3] == (10, 32, 32)
        assert np.isfinite(found.attributions).all()
        assert np.isfinite(found.scores).all()
    assert (np.abs(found.attributions).max((1, 2, 3)) > 0).sum() >= 8
