"""ONNX files from elsewhere that are asked with pictures."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from eyespot.cli.inspect import rule_text
from eyespot.exporter import (
    OnnxError,
    ParityError,
    PreprocessingFitError,
    add_model,
    check_repository,
    pixel_input,
)
from eyespot.exporter.model_config import read_config
from eyespot.v1.model_config_pb2 import ModelInput
from eyespot.v1.preprocessing import IMAGENET, PreprocessingRule

RULE = PreprocessingRule((2, 5), None, "nearest", "RGB", (0.5, 0.25, 0.0), (0.5, 1.0, 2.0))
PIXEL = np.array([255, 51, 102], np.uint8)
NORMALISED = [1.0, -0.05, 0.2]  # (1 - 0.5) / 0.5, 0.2 - 0.25, 0.4 / 2


def save(path, shape, *, datatype=TensorProto.FLOAT, opset=18):
    """Write a graph that gives what it takes, as floats."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        "same",
        [helper.make_tensor_value_info("x", datatype, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def add(path, **options):
    return add_model(path, repository=path.parent / "here", name="same", **options)


@pytest.mark.parametrize(("channel_axis", "shape"), [(1, ["N", 3, 2, 5]), (3, [None, 2, 5, 3])])
def test_pixels_are_normalised_in_front_of_the_graph(tmp_path, channel_axis, shape):
    result = add(save(tmp_path / "same.onnx", shape), preprocessing=RULE)
    pixels = np.zeros((2, 2, 5, 3), np.uint8)
    pixels[1, 0, 4] = PIXEL
    (found,) = onnxruntime.InferenceSession(result.path / "model.onnx").run(
        None, {"x_pixels": pixels}
    )
    found = np.moveaxis(found, channel_axis, 3)  # -> (B, H, W, C)
    assert found[1, 0, 4] == pytest.approx(NORMALISED, rel=1e-6)
    assert found[0, 0, 4] == pytest.approx([-1.0, -0.25, 0.0], rel=1e-6)
    config = read_config(tmp_path / "here" / "same" / "config.pbtxt")
    assert config.input[0].format == ModelInput.FORMAT_NHWC
    assert list(config.input[0].dims) == [2, 5, 3]
    parameters = {name: each.string_value for name, each in config.parameters.items()}
    assert PreprocessingRule.from_parameters(parameters) == RULE == result.manifest.preprocessing
    assert result.manifest.inputs[0].datatype == "UINT8"
    assert result.notes == (
        "serves without gradients: an ONNX file has no PyTorch original to differentiate; "
        "occlusion and rise explain it",
    )
    (checked,) = check_repository(tmp_path / "here")
    assert checked.ok, checked.reasons


def test_a_graph_that_takes_pixels_stays_as_it_is(tmp_path):
    path = save(tmp_path / "same.onnx", ["N", 2, 5, 3], datatype=TensorProto.UINT8)
    changes = {"resize_size": (2, 5), "crop_size": None}
    result = add(path, preprocessing="imagenet", rule_changes=changes)
    assert onnx.load(result.path / "model.onnx") == onnx.load(path)
    rule = result.manifest.preprocessing
    assert (rule.resize_size, rule.mean, rule.std) == ((2, 5), (0, 0, 0), (1, 1, 1))
    assert add(path, preprocessing=rule).manifest.preprocessing == rule
    told = rule_text(rule)
    assert "mean" not in told
    assert told.endswith("in the graph: its own normalising, if it has any")


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        (RULE, {}),
        ("imagenet", {"mean": (0.5, 0.5, 0.5)}),
        ("imagenet", {"std": (0.5, 0.5, 0.5)}),
    ],
)
def test_a_graph_that_takes_pixels_is_not_normalised_for(tmp_path, rule, changes):
    path = save(tmp_path / "same.onnx", ["N", 2, 5, 3], datatype=TensorProto.UINT8)
    with pytest.raises(PreprocessingFitError, match=r"takes UINT8 \['batch', 2, 5, 3\].*--mean"):
        add(path, preprocessing=rule, rule_changes=changes)
    assert not (tmp_path / "here").exists()


def test_a_known_rule_follows_the_graph_and_values_of_it_may_change(tmp_path):
    path = save(tmp_path / "same.onnx", ["N", 1, "height", "width"])
    rule = add(path, preprocessing="imagenet", rule_changes={"mean": (0.5,)}).manifest.preprocessing
    assert (rule.color_order, rule.mean, rule.crop_size) == ("GRAY", (0.5,), None)
    file = tmp_path / "rule.json"
    file.write_text(json.dumps(IMAGENET.to_json()))
    fixed = save(tmp_path / "fixed.onnx", ["N", 3, 224, 224])
    added = add_model(fixed, repository=tmp_path / "here", name="fixed", preprocessing=file)
    assert added.manifest.preprocessing == IMAGENET


@pytest.mark.parametrize(
    ("shape", "datatype", "rule", "says"),
    [
        ([1, 3, 2, 5], TensorProto.FLOAT, RULE, r"takes FP32 \[1, 3, 2, 5\].*any batch"),
        (["N", 4, 2, 5], TensorProto.FLOAT, RULE, "1 or 3 channels"),
        (["N", 3, 2, 5], TensorProto.UINT8, RULE, "takes UINT8"),
        (["N", 3], TensorProto.FLOAT, RULE, "ask it with arrays"),
        (["N", 3, 2, 6], TensorProto.FLOAT, RULE, "gives pictures of 2x5, the network takes 2x6"),
        (["N", 1, 2, 5], TensorProto.FLOAT, RULE, "gives 3 channels"),
        (["N", 3, 2, 5], TensorProto.FLOAT, "none", "'none' is no rule"),
    ],
)
def test_what_no_picture_becomes_is_refused(tmp_path, shape, datatype, rule, says):
    path = save(tmp_path / "same.onnx", shape, datatype=datatype)
    with pytest.raises(PreprocessingFitError, match=says):
        add(path, preprocessing=rule)
    assert not (tmp_path / "here").exists()


def test_a_graph_of_an_early_opset_is_refused(tmp_path):
    with pytest.raises(OnnxError, match="opset 6 is too old"):
        add(save(tmp_path / "same.onnx", ["N", 3, 2, 5], opset=6), preprocessing=RULE)


def test_what_is_written_is_compared(tmp_path, monkeypatch):
    path = save(tmp_path / "same.onnx", ["N", 3, 2, 5])
    put_before = pixel_input.PixelInput.put_before

    def put(self, model):
        made = put_before(self, model)
        made.graph.node[4].op_type = "Mul"
        return made

    monkeypatch.setattr(pixel_input.PixelInput, "put_before", put)
    with pytest.raises(ParityError, match="output 'y' at batch 1"):
        add(path, preprocessing=RULE)
    assert not list((tmp_path / "here").glob("*/1"))
