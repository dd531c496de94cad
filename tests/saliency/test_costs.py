"""What a method says that it costs is what it computes."""

import numpy as np
import pytest
import torch
from tests.saliency.conftest import save
from torch import nn

from eyespot.saliency import METHODS, Objective, Targets
from eyespot.saliency.torch_backend import TorchBackend

# Of one row. A backward pass counts as two forward ones, that to the last layer as half a one;
# DeepLIFT runs the baseline as well, and relevance computes each operator once more.
PASSES = {"scores": 1, "activations": 1, "gradients": 3, "relevance": 4, "multipliers": 6}
TO_LAYER = 1.5
FEW = {
    "integrated_gradients": {"n_steps": 5},
    "smooth_grad": {"n_samples": 7},
    "rise": {"n_masks": 9},
    "occlusion": {"window": 6, "stride": 5},
}


class Counting:
    """Counts the passes of a backend."""

    def __init__(self, backend):
        self._backend = backend
        self.passes = 0

    def __getattr__(self, name):
        found = getattr(self._backend, name)
        if name not in PASSES:
            return found

        def counted(x, *args, **kwargs):
            self.passes += len(x) * (TO_LAYER if kwargs.get("layer") is not None else PASSES[name])
            return found(x, *args, **kwargs)

        return counted


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    path = tmp_path_factory.mktemp("network") / "original.pt2"
    save(network, torch.zeros(2, 3, 16, 16), path)
    return TorchBackend.load(path, gradient_node="input")


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", METHODS)
def test_the_cost_that_is_told_is_what_is_computed(network, name, rows):
    backend = Counting(network)
    method = METHODS[name]
    parameters = FEW.get(name, {})
    x = np.random.default_rng(0).standard_normal((rows, 3, 16, 16)).astype(np.float32)
    method.explain(backend, x, Objective(Targets(np.zeros(rows, np.int64))), **parameters)
    assert backend.passes == rows * method.cost(method.complete(parameters), x.shape[1:], 1)


@pytest.mark.parametrize("name", [name for name, each in METHODS.items() if each.scales_with])
def test_the_parameter_that_the_cost_scales_with(name):
    method = METHODS[name]
    few, many = (
        method.cost(method.complete({method.scales_with: count}), (3, 16, 16), 1)
        for count in (100, 1000)
    )
    assert few < many / 9


def test_each_parameter_tells_enough_to_build_a_form():
    kinds = {"bool": bool, "int64": int, "double": float, "string": str}
    for method in METHODS.values():
        for spec in method.parameters:
            assert isinstance(spec.default, kinds[spec.type])
            assert spec.check(spec.default) == spec.default
            assert spec.description
            for end in (spec.minimum, spec.maximum):
                assert end is None or spec.check(end) == end
