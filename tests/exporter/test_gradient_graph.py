"""Gradient graphs as an export writes them: small, proven, or refused with the reason."""

import numpy as np
import onnx
import pytest
import torch
from tests.branched_net import BranchedNet
from torch import nn
from torch.nn import functional

from eyespot.exporter import export, export_zoo_parts
from eyespot.exporter.capture import find_gradient_node
from eyespot.exporter.errors import GradientError, LayerNameError
from eyespot.exporter.gradient_graph import find_layers, gradient_parity
from eyespot.exporter.gradient_graph.gradient_parity import OwnMovement, compare
from eyespot.exporter.preprocessed import Preprocessed
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.v1.manifest import read_manifest
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.v1.sha256 import sha256_of

GRAPHS = {
    *("gradient.onnx", "gradient_guided.onnx", "gradient_deconvnet.onnx"),
    *("gradient_layer.onnx", "gradient_layer_relu_.onnx", "gradient_layer_cat.onnx"),
}


def test_every_graph_is_in_the_manifest_with_its_proof(gradient_export):
    manifest = read_manifest(gradient_export.path / "manifest.json")
    assert manifest == gradient_export.manifest
    assert set(manifest.files) == GRAPHS | {"model.onnx", "original.pt2"}
    for name in GRAPHS:
        assert manifest.files[name] == sha256_of(gradient_export.path / name)
    cases = {case.gradient: case for case in manifest.parity.gradients}
    layer = manifest.gradient_graphs.layer
    assert set(cases) == {
        *("by input", f"by layer {layer}", "by layer relu_", "by layer cat"),
        *("by input, guided", "by input, deconvnet"),
    }
    assert cases["by input"].rows == 32
    assert all(case.median_rel_l2 < 1e-4 for case in cases.values())
    assert all(case.least_cosine > 0.999 for case in cases.values())
    assert "median relative L2" in str(manifest.parity)


def test_larger_weights_are_not_stored_again(gradient_export):
    model = onnx.load(gradient_export.path / "model.onnx")
    large = {w.name for w in model.graph.initializer if len(w.raw_data) >= 1024}
    assert large  # else this shows nothing
    for name in GRAPHS:
        graph = onnx.load(gradient_export.path / name, load_external_data=False).graph
        external = {w.name: w for w in graph.initializer if w.external_data}
        assert set(external) == large
        places = [{e.key: e.value for e in w.external_data} for w in external.values()]
        assert {place["location"] for place in places} == {"model.onnx"}


def test_layers_are_told_and_so_is_one_that_is_folded_into_the_next(gradient_export):
    graphs = gradient_export.manifest.gradient_graphs
    assert [(each.name, each.sizes) for each in graphs.layers] == [
        ("relu", (12, 4, 4)),
        ("relu_", (8, 8, 8)),
        ("cat", (12, 8, 8)),
    ]
    assert gradient_export.notes == (
        "only PyTorch explains by layer 'conv2d': model.onnx has no such maps; ask for "
        "'batch_norm' behind it, into which it may be folded",
    )


def test_a_name_that_is_no_layers_is_told_before_anything_is_written(tmp_path):
    told = []
    with pytest.raises(LayerNameError, match=r"no layer 'relu_9'; did you mean 'relu_' or "):
        export(
            BranchedNet().eval(),
            torch.zeros(1, 3, 16, 16),
            repository=tmp_path,
            name="branched",
            gradient_layers=["cat", "relu_9"],
            progress=told.append,
        )
    assert told == ["capturing the module"]
    assert list(tmp_path.iterdir()) == []


class Reusing(nn.Module):
    """One rectifier for two convolutions."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.last = nn.Conv2d(4, 4, 3)

    def forward(self, x):
        return self.block[1](self.last(self.block(x))).mean((2, 3))


def test_a_module_may_be_named_and_means_its_last_node():
    rule = PreprocessingRule((8, 8), None, "nearest", "RGB", (0.5,) * 3, (0.5,) * 3)
    pixels = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    program = torch.export.export(Preprocessed(Reusing(), rule).eval(), (pixels,))
    start = find_gradient_node(program)
    nodes = {
        "conv2d_1": "conv2d_1",
        "block.0": "conv2d",
        "network.last": "conv2d_1",
        "block.1": "relu_1",  # which is called again, outside of its block
        "block": "relu",
        "network": "relu_1",
    }
    assert find_layers(program, list(nodes), gradient_node=start) == tuple(nodes.values())
    with pytest.raises(LayerNameError, match=r"no layer 'block\.2'; did you mean 'block\.[01]' or"):
        find_layers(program, ["block.2"], gradient_node=start)


def test_a_layer_without_maps_is_told_from_one_that_is_not_there():
    pool = nn.AdaptiveAvgPool2d(1)  # of one place, which shows nothing and is not offered
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, 2))
    rule = PreprocessingRule((8, 8), None, "nearest", "RGB", (0.5,) * 3, (0.5,) * 3)
    pixels = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    program = torch.export.export(Preprocessed(module, rule).eval(), (pixels,))
    start = find_gradient_node(program)
    for name in ("linear", "4", "network.4"):
        says = rf"layer '{name}' holds no spatial maps .* that do: .*conv2d, relu$"
        with pytest.raises(LayerNameError, match=says):
            find_layers(program, ["relu", name], gradient_node=start)
    with pytest.raises(LayerNameError, match="the name of a layer is empty"):
        find_layers(program, [""], gradient_node=start)


def test_without_a_place_where_gradients_begin_there_are_no_layers():
    with pytest.raises(LayerNameError, match=r"nothing is explained by layer 'relu'"):
        find_layers(None, ["relu"], gradient_node=None)


def test_layers_are_named_of_one_model_alone(tmp_path):
    with pytest.raises(LayerNameError, match=r"conv_vae is exported as 2 models"):
        export_zoo_parts("conv_vae", repository=tmp_path, gradient_layers=["relu"])


def test_what_pytorch_makes_of_it_decides(gradient_export, x_of_export):
    original = TorchBackend.load(gradient_export.path / "original.pt2", gradient_node="x")
    other = original.randomised([original.weight_layers()[0]], seed=1)
    with pytest.raises(GradientError, match=r"its gradients by input differ from PyTorch's by"):
        compare(original, other, x_of_export)


def test_a_long_comparison_tells_how_far_it_has_come(gradient_export, x_of_export, monkeypatch):
    monkeypatch.setattr(gradient_parity, "_ELEMENTS_AT_ONCE", 0)
    original = TorchBackend.load(gradient_export.path / "original.pt2", gradient_node="x")
    told = []
    x = np.concatenate([x_of_export, x_of_export, x_of_export[:1]])
    compare(original, original, x, layer="relu", progress=told.append)
    assert told == [f"comparing gradient {first} of 9 by layer relu" for first in (1, 5, 9)]
    other = original.randomised([original.weight_layers()[0]], seed=1)
    with pytest.raises(GradientError):
        compare(original, other, x_of_export, progress=told.append)
    assert told[3:] == [
        "comparing gradient 1 of 4 by input",
        "measuring how far PyTorch's own gradients move",
    ]


def test_a_network_is_held_against_its_own_movement(gradient_export, x_of_export):
    original = TorchBackend.load(gradient_export.path / "original.pt2", gradient_node="x")
    restless = OwnMovement(rel_l2=1.0, cosine=0.0)
    case = compare(original, original.nudged(seed=5), x_of_export, own=restless)
    assert case.median_rel_l2 < 1e-4
    assert (case.own_rel_l2, case.own_cosine) == (0.0, 1.0)  # nobody had to know
    other = original.randomised([original.weight_layers()[0]], seed=1)
    case = compare(original, other, x_of_export, own=restless)
    assert case.least_cosine < 0.9
    assert (case.own_rel_l2, case.own_cosine) == (1.0, 0.0)


@pytest.fixture
def x_of_export():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(2)).numpy()


class Smooth(nn.Module):
    """Has rectifiers that ONNX writes with one operator each, or with several."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = functional.silu(self.convolution(x))
        x = functional.gelu(functional.interpolate(x, size=(9, 7), mode="bilinear"))
        x = functional.mish(x)
        return self.head(functional.gelu(x.mean((2, 3)), approximate="tanh"))


def test_smooth_rectifiers_are_those_of_pytorch(tmp_path):
    torch.manual_seed(4)
    told = []
    result = export(
        Smooth().eval(),
        torch.zeros(1, 2, 6, 6),
        repository=tmp_path,
        name="g",
        gradient_graph=True,
        progress=told.append,
    )
    assert "comparing gradient 1 of 32 by input" in told
    assert result.notes == ()
    assert result.manifest.gradient_graphs.no_rectifiers == ""
    cases = {case.gradient: case for case in result.manifest.parity.gradients}
    for rule in ("guided", "deconvnet"):
        assert cases[f"by input, {rule}"].least_cosine > 0.999


@pytest.mark.parametrize("external_data", [False, True])
def test_small_maps_that_are_pooled_into_larger_ones(tmp_path, external_data):
    # As in VGG for small pictures. Where each value is taken from are 196 pairs of places.
    torch.manual_seed(4)
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(98, 3)
    )
    result = export(
        network.eval(),
        torch.zeros(1, 1, 4, 4),
        repository=tmp_path,
        name="g",
        external_data=external_data,
        gradient_graph=True,
    )
    assert result.notes == ()
    (case, *_) = result.manifest.parity.gradients
    assert (case.gradient, case.median_rel_l2 < 1e-5) == ("by input", True)


class Sorted(nn.Module):
    """Sorts, which has no rule."""

    def forward(self, x):
        return torch.sort(x.flatten(1), 1).values[:, :3]


def test_an_operator_without_a_rule_is_told_and_the_version_written(tmp_path):
    result = export(
        Sorted().eval(),
        torch.zeros(1, 4, 2),
        repository=tmp_path,
        name="sorted",
        gradient_graph=True,
    )
    assert (result.path / "model.onnx").exists()
    assert not GRAPHS & {path.name for path in result.path.iterdir()}
    (note,) = result.notes
    assert note.startswith("only PyTorch explains this model: TopK (")
    assert result.manifest.gradient_graphs.reason in note
    assert result.manifest.parity.gradients == ()
