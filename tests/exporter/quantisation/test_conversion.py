import shutil
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from eyespot.exporter import DerivationError, check_repository
from eyespot.exporter.gradient_graph import open_gradients
from eyespot.exporter.quantisation import convert, optimise
from eyespot.exporter.quantisation.graph import prepare
from eyespot.saliency import TOP_CLASS, Objective, Targets
from eyespot.v1.external_data import check_external_data
from eyespot.v1.manifest import read_manifest
from eyespot.v1.sha256 import sha256_of


def test_half_precision(repository, rows, answers):
    derived = convert(repository, "small", to="float16")
    assert derived.path == repository / "small_fp16" / "1"
    graph = onnx.load(derived.path / "model.onnx").graph
    kinds = {weight.name: weight.data_type for weight in graph.initializer}
    assert kinds["network.conv.weight"] == TensorProto.FLOAT16
    before, after = (
        answers(version, rows) for version in (repository / "small" / "1", derived.path)
    )
    # 11 bits, over two layers and a norm.
    assert 0 < np.abs(before - after).max() < 4 * 2**-11 * np.abs(before).max()
    [step] = derived.manifest.derivations
    assert (step.kind, step.top1_agreement) == ("float16", None)
    [result] = [r for r in check_repository(repository) if r.model_name == "small_fp16"]
    assert result.ok, result.reasons
    with pytest.raises(DerivationError, match=r"already: give .*/small/1$"):
        convert(repository, "small_fp16", to="float16")


def test_gradient_graphs_keep_the_original_and_take_nothing_from_the_derived(
    gradient_export, tmp_path
):
    """They read their weights out of `model.onnx`, which is another one in what is derived."""
    repository = tmp_path / "repository"
    shutil.copytree(gradient_export.path.parent.parent, repository)
    name, version = gradient_export.manifest.model_name, gradient_export.path
    assert "model.onnx" in check_external_data(version / "gradient.onnx")
    x = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    objective = Objective(Targets(np.full(2, TOP_CLASS)))

    def gradients(folder):
        manifest = read_manifest(folder / "manifest.json")
        backend = open_gradients(
            folder,
            manifest.gradient_graphs,
            names=(manifest.inputs[0].name, manifest.outputs[0].name),
            output_shape=manifest.outputs[0].shape[1:],
            channel_axis=manifest.channel_axis,
        )
        return backend.gradients(x, objective).gradients

    half = convert(repository, name, to="float16")
    twice = optimise(repository, half.model_name)
    for derived in (half, twice):
        weights = onnx.load(derived.path / "model.onnx").graph.initializer
        assert TensorProto.FLOAT16 in {weight.data_type for weight in weights}
        assert sha256_of(derived.path / "original.onnx") == sha256_of(version / "model.onnx")
        assert np.array_equal(gradients(derived.path), gradients(version))
        [result] = [r for r in check_repository(repository) if r.model_name == derived.model_name]
        assert result.ok, result.reasons


def test_optimised_ahead_answers_the_same(repository, rows, answers):
    derived = optimise(repository, "small")
    assert derived.path == repository / "small_optimised" / "1"
    operators = {n.op_type for n in onnx.load(derived.path / "model.onnx").graph.node}
    assert "BatchNormalization" not in operators
    before, after = (
        answers(version, rows) for version in (repository / "small" / "1", derived.path)
    )
    assert np.abs(before - after).max() <= 1e-5 * np.abs(before).max()
    manifest = derived.manifest
    assert manifest.parity.rtol == 1e-4
    assert manifest.lossy_derivation is None
    assert (
        manifest.derivations[0].settings["nodes"][1] < manifest.derivations[0].settings["nodes"][0]
    )
    [result] = [r for r in check_repository(repository) if r.model_name == "small_optimised"]
    assert result.ok, result.reasons


def test_what_was_converted_can_be_optimised(repository):
    convert(repository, "small", to="float16", model_name="half")
    derived = optimise(repository, "half", as_version=True)
    assert derived.path == repository / "half" / "2"
    assert [step.kind for step in derived.manifest.derivations] == ["float16", "optimised"]
    assert derived.manifest.lossy_derivation.kind == "float16"


@pytest.mark.parametrize("make", [partial(convert, to="float16"), optimise])
def test_its_own_name_is_no_other(repository, make):
    with pytest.raises(DerivationError, match="--as-version"):
        make(repository, "small", model_name="small")
    assert not (repository / "small" / "2").exists()


def test_small_weights_are_not_worth_it(repository):
    with pytest.raises(DerivationError, match="1024 numbers or more"):
        convert(repository, "small", to="int8 weights")


def test_an_operator_of_elsewhere(repository, tmp_path):
    model = onnx.load(repository / "small" / "1" / "model.onnx")
    model.graph.node[-1].domain = "elsewhere"
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(DerivationError, match=r"operator elsewhere\.Gemm is not one of ONNX"):
        prepare(tmp_path / "a.onnx", tmp_path)
