"""ONNX files from elsewhere."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from eyespot.exporter import LabelsError, OnnxError, add_model, check_repository, inspect_entry
from eyespot.exporter.model_config import read_config
from eyespot.server.repository import check_files, scan
from eyespot.v1.manifest import read_manifest
from eyespot.v1.model_config_pb2 import DataType
from eyespot.v1.sha256 import sha256_of


def make_model(rows="N", answer_rows=None, *, inputs=4, classes=3, external=None):
    """Make a linear layer, as another exporter would."""
    weight = np.arange(inputs * classes, dtype=np.float32).reshape(inputs, classes)
    tensor = numpy_helper.from_array(weight, "weight")
    if external is not None:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=external)
        tensor.ClearField("raw_data")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [answer_rows or rows, classes])],
        [tensor],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(
        graph, opset_imports=opset, ir_version=10, producer_name="elsewhere"
    ), weight


def save(folder, *arguments, **options):
    folder.mkdir(exist_ok=True)
    model, weight = make_model(*arguments, **options)
    (folder / "linear.onnx").write_bytes(model.SerializeToString())
    return folder / "linear.onnx", weight


def test_the_configuration_is_read_off_the_graph(tmp_path):
    path, _ = save(tmp_path / "there")
    result = add_model(path, repository=tmp_path / "here", name="linear", labels=["a", "b", "c"])
    config = read_config(tmp_path / "here" / "linear" / "config.pbtxt")
    assert config.max_batch_size == 32
    assert config.HasField("dynamic_batching")
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [
        ("x", DataType.TYPE_FP32, [4])
    ]
    assert [(o.name, list(o.dims), o.label_filename) for o in config.output] == [
        ("y", [3], "labels.txt")
    ]
    assert any("without gradients" in note for note in result.notes)
    manifest = read_manifest(result.path / "manifest.json")
    assert (manifest.gradient_node, manifest.parity, manifest.opset_version) == (None, None, 18)
    assert manifest.inputs[0].shape == ("batch", 4)
    assert manifest.files == {"model.onnx": sha256_of(path)}
    assert not inspect_entry(tmp_path / "here", "linear").is_explainable
    (checked,) = check_repository(tmp_path / "here")
    assert checked.ok
    assert "without gradients" in checked.notes[0]


@pytest.mark.parametrize(("rows", "answer_rows"), [(5, 5), ("N", 5)])
def test_a_fixed_first_dimension_is_not_batched(tmp_path, rows, answer_rows):
    path, _ = save(tmp_path, rows, answer_rows)
    add_model(path, repository=tmp_path / "here", name="linear")
    config = read_config(tmp_path / "here" / "linear" / "config.pbtxt")
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [-1 if rows == "N" else 5, 4]
    with pytest.raises(OnnxError, match="cannot be batched"):
        add_model(path, repository=tmp_path / "here", name="other", max_batch_size=4)


def test_external_data_comes_along(tmp_path):
    path, weight = save(tmp_path / "there", external="data/weights.bin")
    (tmp_path / "there" / "data").mkdir()
    (tmp_path / "there" / "data" / "weights.bin").write_bytes(weight.tobytes())
    result = add_model(path, repository=tmp_path / "here", name="linear")
    assert set(result.manifest.files) == {"model.onnx", "data/weights.bin"}
    session = onnxruntime.InferenceSession(result.path / "model.onnx")
    (found,) = session.run(None, {"x": np.eye(4, dtype=np.float32)})
    assert np.array_equal(found, weight)
    (version,) = scan(tmp_path / "here")
    assert check_files(version) == result.manifest
    (result.path / "data" / "weights.bin").write_bytes(weight[::-1].tobytes())
    (checked,) = check_repository(tmp_path / "here")
    assert "data/weights.bin has changed" in checked.reasons[0]


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("../weights.bin", "no path within the model's folder"),
        ("/weights.bin", "no path within the model's folder"),
        ("link.bin", "a link or no file"),
        ("missing.bin", "'missing.bin': No such file"),
        ("manifest.json", "a name that is needed"),
    ],
)
def test_external_data_elsewhere_is_refused(tmp_path, location, told):
    path, weight = save(tmp_path / "there", external=location)
    (tmp_path / "weights.bin").write_bytes(weight.tobytes())
    (tmp_path / "there" / "manifest.json").write_bytes(weight.tobytes())
    (tmp_path / "there" / "link.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(OnnxError, match=told):
        add_model(path, repository=tmp_path / "here", name="linear")
    assert not (tmp_path / "here").exists()


def test_external_data_by_its_full_path_is_refused(tmp_path):
    beside = tmp_path / "there" / "weights.bin"
    path, weight = save(tmp_path / "there", external=str(beside))
    beside.write_bytes(weight.tobytes())
    with pytest.raises(OnnxError, match="no path within the model's folder"):
        add_model(path, repository=tmp_path / "here", name="linear")
    assert beside.read_bytes() == weight.tobytes()


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(OnnxError, match="not a valid ONNX model"):
        add_model(tmp_path / "text.onnx", repository=tmp_path / "here", name="text")
    with pytest.raises(OnnxError, match=r"missing\.onnx cannot be read: No such file or dir"):
        add_model(tmp_path / "missing.onnx", repository=tmp_path / "here", name="missing")
    model, _ = make_model()
    model.graph.node[0].op_type = "NoSuchOperator"
    (tmp_path / "linear.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(OnnxError, match="NoSuchOperator"):
        add_model(tmp_path / "linear.onnx", repository=tmp_path / "here", name="linear")
    model, _ = make_model()
    model.graph.node[0].input[1] = "nothing"
    (tmp_path / "linear.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(OnnxError, match="nothing"):
        add_model(tmp_path / "linear.onnx", repository=tmp_path / "here", name="linear")
    assert not (tmp_path / "here").exists()


def test_labels_must_fit_an_output(tmp_path):
    path, _ = save(tmp_path)
    with pytest.raises(LabelsError, match=r"2 labels fit the classes of no output: y"):
        add_model(path, repository=tmp_path / "here", name="linear", labels=["a", "b"])


def test_labels_that_repeat_are_noted(tmp_path):
    path, _ = save(tmp_path)
    labels = ["a", "b", "a"]
    result = add_model(path, repository=tmp_path / "here", name="linear", labels=labels)
    assert result.notes[1:] == ("label 'a' names 2 classes",)


def test_a_model_added_again_is_the_next_version(tmp_path):
    path, _ = save(tmp_path)
    add_model(path, repository=tmp_path / "here", name="linear")
    assert add_model(path, repository=tmp_path / "here", name="linear").model_version == "2"


def test_an_onnx_file_without_original_cannot_stand_in_for_one(tmp_path):
    """Onnx itself reads the copy: nothing of it was rewritten."""
    path, _ = save(tmp_path)
    result = add_model(path, repository=tmp_path / "here", name="linear")
    assert (result.path / "model.onnx").read_bytes() == path.read_bytes()
    assert onnx.load(result.path / "model.onnx").producer_name == "elsewhere"
