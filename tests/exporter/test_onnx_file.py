"""What is taken from a translated graph, and what is checked in it."""

import onnx
import pytest
from onnx import TensorProto, helper

from eyespot.exporter.errors import OnnxError
from eyespot.exporter.onnx_file import _check, _check_opset_of, _name_sizes, _strip
from eyespot.v1.manifest import TensorSpec


def _model(*, rows="batch", opset=18):
    """A branch, so that one graph lies within another, and metadata in both."""
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 2])
    inner = helper.make_node("Relu", ["x"], ["y"], name="inner")
    branch = helper.make_graph([inner], "branch", [], [value])
    outer = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph(
        [outer],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 2])],
        [value],
        [helper.make_tensor("c", TensorProto.BOOL, [], [True])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    subgraphs = [attribute.g for attribute in model.graph.node[0].attribute]
    for node in [model.graph.node[0], *(graph.node[0] for graph in subgraphs)]:
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value='File "/home/x/net.py"')
        node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['features.0']")
    return model


def test_source_paths_go_and_name_scopes_stay_at_any_depth():
    model = _model()
    _strip(model)
    written = model.SerializeToString()
    assert b"net.py" not in written
    assert written.count(b"features.0") == 3


def test_a_graph_must_be_valid_and_of_the_opset_asked_for(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(_model(), path)
    _check(path)
    _check_opset_of(_model(), 18)
    with pytest.raises(OnnxError, match="opset 20 was asked for, the translation gives 18"):
        _check_opset_of(_model(), 20)
    broken = _model()
    broken.graph.node[0].input[0] = "missing"
    onnx.save(broken, path)
    with pytest.raises(OnnxError, match="not valid ONNX") as raised:
        _check(path)
    assert str(tmp_path) not in str(raised.value)


def test_free_sizes_get_their_names_and_fixed_ones_must_agree():
    model = _model(rows="s77")
    specs = [TensorSpec(name, "FP32", ("batch", 2)) for name in ("x", "y")]
    _name_sizes(model, specs)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    with pytest.raises(OnnxError, match=r"x are \[2, 2\] in the translation, \['batch', 2\]"):
        _name_sizes(_model(rows=2), specs)
    with pytest.raises(OnnxError, match=r"\['batch', 3\] in the program"):
        _name_sizes(_model(), [TensorSpec("x", "FP32", ("batch", 3)), specs[1]])
