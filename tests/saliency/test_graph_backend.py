"""The gradient graphs as a backend: what they give is what the captured program gives."""

import numpy as np
import pytest

from eyespot.exporter.gradient_graph import open_gradients
from eyespot.saliency import (
    LayerError,
    MemoryBoundError,
    Objective,
    Targets,
    UnavailableMethodError,
    find_method,
)
from eyespot.saliency.torch_backend import TorchBackend

X = np.random.default_rng(11).standard_normal((3, 3, 16, 16)).astype(np.float32)
METHODS = {
    "saliency": {},
    "input_x_gradient": {},
    "integrated_gradients": {"n_steps": 6},
    "smooth_grad": {"n_samples": 3},
    "guided_backprop": {},
    "deconvnet": {},
    "grad_cam": {},
    "guided_grad_cam": {},
    "layer_cam": {},
}


@pytest.fixture(scope="module")
def original(gradient_export):
    return TorchBackend.load(gradient_export.path / "original.pt2", gradient_node="x")


@pytest.fixture(scope="module")
def graphs(gradient_export):
    return open_gradients(
        gradient_export.path,
        gradient_export.manifest.gradient_graphs,
        names=("input", "logits"),
        output_shape=(5,),
        channel_axis=1,
    )


def same(original, graphs, method, targets, score="logit", **parameters):
    objective = Objective(targets, score)
    expected = find_method(method).explain(original, X, objective, **parameters)
    found = find_method(method).explain(graphs, X, objective, **parameters)
    scale = np.abs(expected.attributions).max()
    assert scale > 0
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-4 * scale)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
    assert found.targets.tolist() == expected.targets.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_methods(original, graphs, method):
    same(original, graphs, method, Targets(np.array([-1, 2, 0])), **METHODS[method])


@pytest.mark.parametrize("modifier", ["guided", "relu"])
def test_grad_cam_with_another_rule(original, graphs, modifier):
    same(original, graphs, "grad_cam", Targets(np.array([1, 1, -1])), modifier=modifier)


@pytest.mark.parametrize("score", ["logit", "probability", "binary_logit", "binary_probability"])
def test_scores(original, graphs, score):
    same(original, graphs, "saliency", Targets(np.array([-1, 3, -2])), score)


def test_several_targets_a_row_and_contrasts(original, graphs):
    several = Targets(np.tile([-1, -2], 3))
    same(original, graphs, "saliency", several)
    same(original, graphs, "grad_cam", several)
    same(original, graphs, "saliency", Targets(np.array([0, 1, 2]), against=np.array([1, 2, 3])))
    same(original, graphs, "saliency", Targets(np.full(3, -1), against=np.full(3, -2)))


def test_embeddings(original, graphs):
    embeddings = np.random.default_rng(2).standard_normal((3, 5)).astype(np.float32)
    same(original, graphs, "saliency", Targets(np.full(3, -1), embeddings=embeddings))


def test_one_layer_is_there(original, graphs):
    default = original.find_layer("")
    assert [layer.name for layer in graphs.layers()] == [default]
    assert graphs.find_layer(default) == graphs.find_layer("") == default
    with pytest.raises(LayerError, match=f"only layer {default!r} can be asked for, found 'relu_'"):
        graphs.find_layer("relu_")
    outputs, maps = graphs.activations(X, "")
    np.testing.assert_allclose(maps, original.activations(X, "")[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs, graphs.scores(X), rtol=1e-5)


@pytest.mark.parametrize("method", ["cam", "deep_lift", "lrp"])
def test_what_needs_pytorch_says_so(graphs, method):
    with pytest.raises(UnavailableMethodError, match=r"needs PyTorch on the server"):
        find_method(method).explain(graphs, X, Objective(Targets(np.zeros(3, np.int64))))


def test_steps_are_cut_to_fit_memory(gradient_export, graphs, original):
    few = open_gradients(
        gradient_export.path,
        gradient_export.manifest.gradient_graphs,
        names=("input", "logits"),
        output_shape=(5,),
        channel_axis=1,
    )
    few._memory_mib = 1
    row_bytes = original.bytes_per_row((3, 16, 16))
    assert few.rows_at_once((3, 16, 16)) == min(64, 2**20 // row_bytes)
    with pytest.raises(MemoryBoundError, match="--explain-memory-mib"):
        few.rows_at_once((3, 1600, 1600))
