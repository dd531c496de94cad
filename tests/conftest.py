"""What several rooms' tests share."""

import pytest


@pytest.fixture
def tiny_repository(tmp_path):
    """A model repository with one ONNX file made by hand: `double` returns its input twice."""
    import onnx
    from onnx import TensorProto, helper

    batch_of_two = ["batch", 2]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["doubled"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, batch_of_two)],
        [helper.make_tensor_value_info("doubled", TensorProto.FLOAT, batch_of_two)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    folder = tmp_path / "tiny_repository" / "double" / "1"
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    return folder.parent.parent
