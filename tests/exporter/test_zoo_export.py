"""Every network of the zoo: its two artefacts agree, and so do its gradients with autograd's."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from eyespot.exporter import ExportResult, LabelsError, RepositoryError, export_zoo_model
from eyespot.exporter.preprocessed import Preprocessed
from eyespot.saliency import Objective, Targets
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.v1.manifest import sha256_of
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo import create_model, list_models, model_entry, preprocessing_for

# With an input small enough for the normal run; the others are giants.
SMALL = {"lenet5": None, "lenet5_modern": None, "resnet20": None, "mobilenet_v2": 32}


def _networks():
    for name in list_models():
        for preprocessing in (None, "none"):
            # Translating MobileNetV2 takes seconds: once is enough for the normal run.
            is_small = name in SMALL and (name, preprocessing) != ("mobilenet_v2", "none")
            marks = () if is_small else pytest.mark.giant
            yield pytest.param(name, preprocessing, marks=marks)


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


@pytest.mark.parametrize(("name", "preprocessing"), list(_networks()))
def test_artefacts_and_gradients_agree(tmp_path, name, preprocessing):
    size = SMALL.get(name)
    result = export_zoo_model(
        name, repository=tmp_path, preprocessing=preprocessing, input_size=size, max_batch_size=4
    )
    manifest = result.manifest
    assert (manifest.preprocessing is None) == (preprocessing == "none")
    assert manifest.provenance.architecture == name
    assert manifest.provenance.year == model_entry(name).year
    assert manifest.parameter_count == model_entry(name).parameter_count
    assert max(case.max_rel_diff for case in manifest.parity.cases) < 1e-4
    assert min(case.top1_agreement for case in manifest.parity.cases) == 1

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = create_model(name, input_size=size)
    generator = np.random.default_rng(1)
    shape = (3, *manifest.inputs[0].shape[1:])
    if preprocessing == "none":
        rows = generator.standard_normal(shape, np.float32)
    else:
        rows = generator.integers(0, 256, shape, np.uint8)
    targets = np.array([0, 7, 3])
    logits, expected = _gradients_by_autograd(module, result, rows, targets)
    backend = TorchBackend.load(result.path / "original.pt2", gradient_node=manifest.gradient_node)
    found = backend.gradients(rows, Objective(Targets(targets)))
    assert np.array_equal(backend.scores(rows), logits)
    assert np.array_equal(found.gradients, expected)
    assert np.abs(expected).max() > 0


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
