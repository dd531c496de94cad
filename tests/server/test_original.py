"""The PyTorch original of a version: loaded, and held against what is served."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from tests.server.explaining import WEIGHT, LinearBackend, call, manifest
from torch import nn

from eyespot.server.errors import (
    ExplainUnavailableError,
    NotExplainableError,
)
from eyespot.server.explainer import (
    Explainer,
    Targets,
    load_original,
    verify_original,
)
from eyespot.v1.manifest import TensorSpec


def test_a_pair_that_agrees_passes(backend):
    seen = []

    def logits_of(x):
        seen.append(x)
        logits = backend.scores(x)
        return logits + 0.9 * (1e-4 + 1e-3 * np.abs(logits).max())

    verify_original(backend, manifest(), logits_of)
    verify_original(backend, manifest(), logits_of)
    assert seen[0].shape == (2, 2, 3)
    assert seen[0].dtype == np.float32
    assert np.ptp(seen[0]) > 0
    np.testing.assert_array_equal(seen[0], seen[1])


def test_pixels_are_verified_with_pixels(backend):
    made = manifest(inputs=(TensorSpec("image", "UINT8", ("batch", 2, 3)),))
    seen = []

    def logits_of(x):
        seen.append(x)
        return backend.scores(x)

    verify_original(backend, made, logits_of)
    assert seen[0].dtype == np.uint8
    assert seen[0].max() > 1


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (lambda logits: logits + 0.5, r"differ by 0\.5, where .* is allowed"),
        (lambda logits: logits * np.nan, "differ by nan"),
        (lambda logits: logits[:, :1], r"its session gives \[2, 1\], its original \[2, 2\]"),
    ],
)
def test_a_pair_that_does_not_agree_is_not_explained(backend, served, said):
    with pytest.raises(NotExplainableError, match=said):
        verify_original(backend, manifest(), lambda x: served(backend.scores(x)))


def test_a_size_that_varies_is_made_up(backend):
    made = manifest(inputs=(TensorSpec("input", "FP32", ("batch", 2, "width")),))
    seen = []

    class Any:
        def scores(self, x):
            seen.append(x.shape)
            return x[:, 0]

    verify_original(Any(), made, lambda x: x[:, 0])
    assert seen == [(2, 2, 64)]


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(WEIGHT.reshape(2, 6)))

    def forward(self, x):
        return x.flatten(1) @ self.weight.T


@pytest.fixture
def original(tmp_path):
    program = torch.export.export(
        Network(), (torch.zeros(2, 2, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    program.example_inputs = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, tmp_path / "original.pt2")
    return tmp_path / "original.pt2"


async def test_an_original_is_loaded_verified_and_explained(original):
    backend = load_original(original, manifest())
    verify_original(backend, manifest(), LinearBackend().scores)
    explainer = Explainer("tiny", backend=backend)
    explained = await explainer.explain(call(rows=2, targets=Targets(np.array([0, 1]))))
    np.testing.assert_array_equal(explained.attributions, WEIGHT)
    np.testing.assert_array_equal(explained.scores, [-1, 1])
    assert explainer.backend == "torch"
    await explainer.drain()
    explainer.close()


def test_a_broken_original_is_typed(original):
    original.write_bytes(b"PK")
    with pytest.raises(NotExplainableError, match="'tiny' version 1 cannot be explained"):
        load_original(original, manifest())


def test_a_manifest_without_a_gradient_node_is_typed(original):
    with pytest.raises(NotExplainableError, match="names no gradient_node"):
        load_original(original, manifest(gradient_node=None))


def test_importing_the_explainer_does_not_import_torch():
    code = "import sys, eyespot.server.explainer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_torch_the_extra_is_named(monkeypatch, original):
    for name in [name for name in sys.modules if name.startswith("eyespot.saliency.torch_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ExplainUnavailableError, match=r"pip install 'eyespot\[explain\]'"):
        load_original(original, manifest())
