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


@pytest.fixture(scope="session")
def gradient_export(tmp_path_factory):
    """Version 1 of `branched`, with gradient graphs; nobody may change its files."""
    import torch
    from tests.branched_net import BranchedNet

    from eyespot.exporter import export

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        network = BranchedNet().eval()
    return export(
        network,
        torch.zeros(1, 3, 16, 16),
        repository=tmp_path_factory.mktemp("gradients"),
        name="branched",
        gradient_layers=["relu_", "relu", "conv2d", "cat"],  # relu is the default's name
        max_batch_size=4,
    )
