"""The gradient graphs as a backend: what they give is what the captured program gives."""

from dataclasses import replace

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
from eyespot.saliency.graph_backend import GraphBackend
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


LAYERS = {"relu_": (8, 8, 8), "cat": (12, 8, 8)}  # beside the default


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_plus_plus", "layer_cam"])
def test_further_layers(original, graphs, method, layer):
    same(original, graphs, method, Targets(np.array([-1, 2, 0])), layer=layer)


@pytest.mark.parametrize("layer", [*LAYERS, "relu"])
def test_layers_with_another_rule(original, graphs, layer):
    targets = Targets(np.array([1, 1, -1]))
    same(original, graphs, "grad_cam", targets, layer=layer, modifier="guided")
    same(original, graphs, "guided_grad_cam", targets, layer=layer)


def test_the_layers_of_the_export_are_there(original, graphs):
    default = original.find_layer("")
    found = {layer.name: layer.shape for layer in graphs.layers()}
    assert found == {default: (12, 4, 4), **LAYERS}
    assert graphs.find_layer(default) == graphs.find_layer("") == default
    for layer in ("", *LAYERS):
        outputs, maps = graphs.activations(X, layer)
        expected = original.activations(X, layer)[1]
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(outputs, graphs.scores(X), rtol=1e-5)


def test_another_layer_says_which_there_are_and_how_to_have_more(graphs):
    with pytest.raises(
        LayerError,
        match=r"^layer 'add' is none of those with gradient graphs \(relu in late_act, relu_, "
        r"cat\); any other needs PyTorch on the server \(pip install 'eyespot\[explain\]', and no "
        r"--explain-backend onnx\), or an export with --gradient-layer NAME$",
    ):
        find_method("grad_cam").explain(graphs, X, Objective(Targets(np.zeros(3))), layer="add")


def test_a_module_is_a_layer_here_too(original, graphs):
    assert graphs.find_layer("late_act") == graphs.find_layer("")
    same(original, graphs, "grad_cam", Targets(np.array([-1, 2, 0])), layer="late_act")
    with pytest.raises(LayerError, match=r"cat\); did you mean 'late_act'\? any other needs"):
        graphs.find_layer("lateact")


def test_no_more_is_asked_of_the_graphs_than_is_needed(graphs):
    asked = []

    def open_graph(rectifier, layer):
        run = graphs._graphs.open_graph(rectifier, layer)

        def remember(inputs, outputs):
            asked.append((rectifier, layer, *outputs))
            return run(inputs, outputs)

        return remember

    watched = GraphBackend(replace(graphs._graphs, open_graph=open_graph))
    objective = Objective(Targets(np.zeros(3, np.int64)))
    watched.gradients(X, objective)
    watched.gradients(X, objective, layer="")
    watched.gradients(X, objective, layer="cat")
    watched.gradients(X, objective, layer="cat", rectifier="guided")
    watched.gradients(X, objective, layer="relu", rectifier="guided")
    assert asked == [
        ("derivative", None, "logits", "$gradient"),
        ("derivative", "relu", "logits", "$layer_gradient", "$layer"),
        ("derivative", "cat", "logits", "$layer_gradient", "$layer"),
        ("guided", None, "logits", "$layer_gradient:cat", "$layer:cat"),
        ("guided", None, "logits", "$layer_gradient", "$layer"),
    ]


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


def test_few_rows_are_taken_where_memory_is_spared(graphs):
    hungry = replace(graphs._graphs, bytes_per_element=100)
    sparing = GraphBackend(hungry, memory_mib=1024, is_sparing=True)
    assert sparing.rows_at_once((3, 256, 256)) == 3  # of 18.75 MiB, in 64
    assert sparing.rows_at_once((3, 1600, 1600)) == 1  # of 732 MiB, which the bound allows
    assert sparing.rows_at_once((3, 16, 16)) == 64
