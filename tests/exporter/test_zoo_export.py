"""Every network of the zoo: its two artefacts agree, and so do its gradients with autograd's."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from eyespot.exporter import (
    CaptureError,
    ExportResult,
    LabelsError,
    PreprocessingFitError,
    RepositoryError,
    check_repository,
    export_zoo_model,
    export_zoo_parts,
)
from eyespot.exporter.preprocessed import Preprocessed
from eyespot.exporter.zoo_export import calibration_rows
from eyespot.exporter.zoo_parts import parts_of
from eyespot.saliency import Objective, Targets
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.saliency.torch_backend.program import read_program
from eyespot.v1.manifest import DynamicAxis, read_manifest
from eyespot.v1.preprocessing import IMAGENET, PreprocessingRule
from eyespot.v1.sha256 import sha256_of
from eyespot.zoo import (
    DeadNetworkError,
    InputFact,
    Part,
    WeightsError,
    create_model,
    enliven,
    list_models,
    model_entry,
    preprocessing_for,
    register_model,
)

# With an input small enough for the normal run; the others are giants.
SMALL = {
    "article_example": None,
    "conv_vae": None,
    "lecun1989": None,
    "lenet5": None,
    "lenet5_modern": None,
    "neocognitron": None,
    "resnet20": None,
    "tdnn": None,
}


def _classifiers():
    for name in list_models():
        if model_entry(name).task != "classification":
            continue
        for preprocessing in (None, "none"):
            if preprocessing is None and model_entry(name).preprocessing is None:
                continue
            # Translating takes seconds: once is enough for the normal run.
            is_small = name in SMALL and (preprocessing is None or name in ("lenet5", "tdnn"))
            marks = () if is_small else pytest.mark.giant
            yield pytest.param(name, preprocessing, marks=marks)


def _others():
    for name in list_models():
        if model_entry(name).task != "classification":
            yield pytest.param(name, marks=() if name in SMALL else pytest.mark.giant)


def _gradients_by_autograd(module, result: ExportResult, rows, targets):
    """Differentiate the module itself, from pixels as floats or from its input."""
    leaf = torch.from_numpy(rows).float().requires_grad_()
    x = leaf
    if result.manifest.preprocessing is not None:
        rule = result.manifest.preprocessing
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (rule.mean, rule.std))
        x = (leaf.permute(0, 3, 1, 2) / 255.0 - mean) / std
    logits = module(x)
    (gradients,) = torch.autograd.grad(logits[range(len(rows)), targets].sum(), leaf)
    return logits.detach().numpy(), gradients.numpy()


@pytest.mark.parametrize(("name", "preprocessing"), list(_classifiers()))
def test_artefacts_and_gradients_agree(tmp_path, name, preprocessing):
    size = SMALL.get(name)
    result = export_zoo_model(
        name, repository=tmp_path, preprocessing=preprocessing, input_size=size, max_batch_size=4
    )
    manifest = result.manifest
    assert (manifest.preprocessing is None) == (preprocessing == "none")
    assert manifest.provenance.architecture == name
    assert manifest.provenance.year == model_entry(name).year
    assert max(case.max_rel_diff for case in manifest.parity.cases) < 1e-4
    assert min(case.top1_agreement for case in manifest.parity.cases) == 1

    module = create_model(name, input_size=size)
    weights = read_program(result.path / "original.pt2").state_dict
    if preprocessing is None:
        prefix = "network."
        weights = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    module.load_state_dict(weights, strict=False)
    assert manifest.parameter_count == sum(value.numel() for value in module.parameters())
    generator = np.random.default_rng(1)
    usual = {axis.name: axis.example for axis in manifest.dynamic_axes}
    shape = (3, *(usual.get(length, length) for length in manifest.inputs[0].shape[1:]))
    if preprocessing == "none":
        rows = generator.standard_normal(shape, np.float32)
    else:
        rows = generator.integers(0, 256, shape, np.uint8)
    targets = np.array([0, 7, 3]) % manifest.outputs[0].shape[1]
    logits, expected = _gradients_by_autograd(module, result, rows, targets)
    backend = TorchBackend.load(result.path / "original.pt2", gradient_node=manifest.gradient_node)
    found = backend.gradients(rows, Objective(Targets(targets)))
    assert np.array_equal(backend.scores(rows), logits)
    assert np.array_equal(found.gradients, expected)
    assert np.abs(expected).max() > 0


@pytest.mark.parametrize("name", list(_others()))
def test_artefacts_of_other_tasks_agree(tmp_path, name):
    results = export_zoo_parts(name, repository=tmp_path, max_batch_size=2)
    assert len(results) == max(1, len(model_entry(name).parts))
    for result in results:
        assert result.manifest.task == model_entry(name).task
        assert max(case.max_rel_diff for case in result.manifest.parity.cases) < 1e-4
    assert all(checked.ok for checked in check_repository(tmp_path))


def test_the_wrapped_module_is_the_network_on_normalised_pixels():
    rule = PreprocessingRule(None, (1, 1), "nearest", "RGB", (0.0, 0.5, 1.0), (1.0, 0.5, 2.0))
    module = Preprocessed(torch.nn.Flatten(), rule)
    found = module(torch.tensor([[[[51, 255, 0]]]], dtype=torch.uint8))
    torch.testing.assert_close(found, torch.tensor([[0.2, 1.0, -0.5]]))


def test_weights_from_a_file_are_named_and_hashed(tmp_path):
    source = create_model("lenet5_modern", num_classes=4)
    header = {"data": "digits", "accuracy": "0.4"}
    save_file(source.state_dict(), tmp_path / "trained.safetensors", metadata=header)
    result = export_zoo_model(
        "lenet5_modern",
        repository=tmp_path / "repository",
        weights=tmp_path / "trained.safetensors",
        num_classes=4,
        labels=["a", "b", "c", "d"],
        model_name="digits",
        training={"accuracy": 0.5},
    )
    provenance = result.manifest.provenance
    assert result.path == tmp_path / "repository" / "digits" / "1"
    assert provenance.weights == "trained.safetensors"
    assert provenance.weights_sha256 == sha256_of(tmp_path / "trained.safetensors")
    assert provenance.training == {"data": "digits", "accuracy": 0.5}
    rule = preprocessing_for("lenet5_modern")
    assert result.manifest.preprocessing == rule
    backend = TorchBackend.load(
        result.path / "original.pt2", gradient_node=result.manifest.gradient_node
    )
    pixels = np.full((1, 32, 32, 1), 128, np.uint8)
    with torch.no_grad():
        expected = Preprocessed(source, rule)(torch.from_numpy(pixels)).numpy()
    assert np.array_equal(backend.scores(pixels), expected)


IN_ANOTHER_PROCESS = """
import sys
from eyespot.exporter import export_zoo_model

result = export_zoo_model("lenet5_modern", repository=sys.argv[1], model_name="again", seed=1)
print(result.manifest.files["model.onnx"])
"""


def test_random_weights_follow_the_seed_and_disturb_nobody(tmp_path):
    state = torch.random.get_rng_state()
    first, other = (
        export_zoo_model("lenet5_modern", repository=tmp_path, model_name=f"n{seed}", seed=seed)
        for seed in (1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.manifest.files["model.onnx"] != other.manifest.files["model.onnx"]
    assert first.manifest.provenance.training == {"seed": 1}
    assert first.manifest.provenance.weights == "random"
    again = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, str(tmp_path)],
        env={**os.environ, "PYTHONHASHSEED": "271828"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert again.stdout == first.manifest.files["model.onnx"] + "\n"
    assert again.stderr == ""  # nor do the libraries chatter


def test_mistakes_are_found_before_anything_is_written(tmp_path):
    repository = tmp_path / "repository"
    begun = []
    with pytest.raises(LabelsError, match="2 labels for 10 classes"):
        export_zoo_model(
            "lenet5_modern", repository=repository, labels=["a", "b"], progress=begun.append
        )
    with pytest.raises(LabelsError, match="2 labels for 3 classes"):
        export_zoo_model(
            "lenet5_modern",
            repository=repository,
            labels=["a", "b"],
            num_classes=3,
            progress=begun.append,
        )
    assert begun == []
    with pytest.raises(RepositoryError, match="no model name"):
        export_zoo_model("lenet5_modern", repository=repository, model_name="../x")
    assert not repository.exists()


class Autoencoder(torch.nn.Module):
    """Two parts that are exported each on its own."""

    def __init__(self, channels: int, size: int, *, code: int) -> None:
        super().__init__()
        flat = channels * size * size
        self.encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(flat, code))
        self.decoder = torch.nn.Sequential(
            torch.nn.Linear(code, flat), torch.nn.Unflatten(1, (channels, size, size))
        )


@pytest.fixture
def registered(monkeypatch):
    """Register networks of the tests' own for as long as a test runs."""
    import eyespot.zoo.registry

    monkeypatch.setattr(eyespot.zoo.registry, "_registry", dict(eyespot.zoo.registry._registry))

    def register(name, builder, **facts):
        told = {
            "paper": "None",
            "year": 2000,
            "input_size": (3, 8, 10),
            "min_input_size": 4,
            "num_classes": 5,
            "parameter_count": 1,
            "departures": "None.",
            "preprocessing": IMAGENET,
            "macs": 1,
            "receptive_field": None,
        }
        register_model(name, **{**told, **facts})(builder)

    return register


def test_parts_become_models_of_their_own(tmp_path, registered):
    def build(*, num_classes, in_channels, input_size):
        return Autoencoder(in_channels, input_size, code=num_classes)

    registered(
        "autoencoder",
        build,
        input_size=(1, 6, 6),
        num_classes=4,
        task="image",
        preprocessing=PreprocessingRule((6, 6), None, "bilinear", "GRAY", (0.5,), (0.5,)),
        parts=(
            Part("encoder", (InputFact("image", (1, 6, 6)),), ("code",), lambda net: net.encoder),
            Part("decoder", (InputFact("code", (4,)),), ("image",), lambda net: net.decoder),
        ),
    )
    encoder, decoder = export_zoo_parts("autoencoder", repository=tmp_path, max_batch_size=2)
    assert [r.manifest.model_name for r in (encoder, decoder)] == [
        "autoencoder_encoder",
        "autoencoder_decoder",
    ]
    assert (encoder.manifest.inputs[0].datatype, decoder.manifest.inputs[0].datatype) == (
        "UINT8",
        "FP32",
    )
    assert encoder.manifest.outputs[0].name == decoder.manifest.inputs[0].name == "code"
    assert decoder.manifest.outputs[0].shape == ("batch", 1, 6, 6)
    assert (encoder.manifest.parameter_count, decoder.manifest.parameter_count) == (148, 180)
    encoder, decoder = export_zoo_parts(
        "autoencoder",
        repository=tmp_path,
        model_name="wide",
        num_classes=7,
        input_size=5,
        max_batch_size=2,
    )
    assert (encoder.manifest.model_name, encoder.manifest.inputs[0].shape) == (
        "wide_encoder",
        ("batch", 5, 5, 1),
    )
    assert decoder.manifest.inputs[0].shape == ("batch", 7)
    with pytest.raises(CaptureError, match="as autoencoder_encoder, autoencoder_decoder"):
        export_zoo_model("autoencoder", repository=tmp_path)


def test_free_sizes_and_the_rule_follow_the_entry(tmp_path, registered):
    def build(*, num_classes, in_channels, input_size):
        return torch.nn.Conv2d(in_channels, num_classes, 3, padding=1)

    registered("maps", build, task="segmentation", dynamic_axes={2: "height", 3: "width"})
    result = export_zoo_model("maps", repository=tmp_path, max_batch_size=2)
    manifest = result.manifest
    assert manifest.inputs[0].shape == ("batch", "height", "width", 3)
    assert manifest.dynamic_axes == (DynamicAxis("height", 4, 8), DynamicAxis("width", 4, 10))
    rule = manifest.preprocessing
    assert (rule.resize_size, rule.crop_size, rule.mean) == (None, None, IMAGENET.mean)


def test_symbols_are_drawn_below_their_number(tmp_path, registered):
    def build(*, num_classes, in_channels, input_size):
        return torch.nn.Sequential(
            torch.nn.Embedding(in_channels, 8), torch.nn.Linear(8, num_classes)
        )

    registered(
        "codes",
        build,
        task="sequence",
        input_size=(6, 9),
        min_input_size=1,
        preprocessing=None,
        parts=(Part("", (InputFact("codes", ("time",), "INT64", 6),), ("logits",)),),
    )
    manifest = export_zoo_model("codes", repository=tmp_path, max_batch_size=2).manifest
    assert (manifest.symbols, manifest.gradient_node) == ({"codes": 6}, None)
    assert manifest.dynamic_axes == (DynamicAxis("time", 1, 9),)
    with pytest.raises(PreprocessingFitError, match="takes no picture"):
        export_zoo_model("codes", repository=tmp_path, preprocessing="imagenet")


def test_the_switch_of_the_input_is_written_down(tmp_path, registered):
    class Switched(torch.nn.Linear):
        transform_input = False

        def forward(self, x):
            return super().forward((x * 2 if self.transform_input else x).mean((2, 3)))

    registered("switched", lambda **_: Switched(3, 5))
    for told in (None, True):
        result = export_zoo_model(
            "switched",
            repository=tmp_path,
            transform_input=told,
            preprocessing="none",
            max_batch_size=1,
        )
        assert read_manifest(result.path / "manifest.json").provenance.transform_input is bool(told)
    with pytest.raises(WeightsError, match="does not re-normalise"):
        export_zoo_model("lenet5_modern", repository=tmp_path, transform_input=True)


def test_a_dead_network_is_not_exported(tmp_path, registered):
    class Dead(torch.nn.Module):
        def forward(self, x):
            return x.mean((1, 2, 3))[:, None] * 0 + torch.ones(1, 5)

    registered("dead", lambda **_: Dead())
    with pytest.raises(DeadNetworkError):
        export_zoo_model("dead", repository=tmp_path / "repository", preprocessing="none")
    assert not (tmp_path / "repository").exists()


def test_labels_in_the_header_of_the_weights_go_along(tmp_path):
    network = create_model("lenet5_modern", num_classes=2)
    path = tmp_path / "w.safetensors"

    def export_with(**header):
        save_file(network.state_dict(), path, metadata=header)
        return export_zoo_model(
            "lenet5_modern", repository=tmp_path / "models", weights=path, num_classes=2
        )

    result = export_with(labels='["day", "night"]', epochs="3")
    assert (tmp_path / "models" / "lenet5_modern" / "labels.txt").read_text() == "day\nnight\n"
    assert result.manifest.provenance.training == {"epochs": "3"}
    with pytest.raises(LabelsError, match=r"the header of w\.safetensors are no JSON"):
        export_with(labels="day, night")
    with pytest.raises(LabelsError, match="no list of texts"):
        export_with(labels="7")
    with pytest.raises(LabelsError, match="3 labels"):
        export_with(labels='["a", "b", "c"]')


@pytest.mark.parametrize(("name", "size"), [("resnet18", 8), ("shufflenet_v2_x0_5", 5)])
def test_random_weights_are_as_sound_where_maps_have_one_position(name, size):
    entry = model_entry(name)
    [part] = parts_of(entry, (3, size, size), None)
    torch.manual_seed(2)
    network = create_model(name, input_size=size)
    inputs = part.random_inputs(rows=calibration_rows((3, size, size)), seed=2)
    enliven(network, inputs, seed=2)
    x = torch.randn(8, 3, size, size)
    with torch.no_grad():
        answers = network(x)
        exact = network.double()(x.double())
    assert answers.abs().max() < 1e3
    assert (answers - exact).abs().max() < 2e-5 * exact.abs().max()
