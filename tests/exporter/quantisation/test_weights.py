import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from eyespot.exporter.errors import DerivationError
from eyespot.exporter.parity import open_session, run_session
from eyespot.exporter.quantisation.weights import store_weights_as_int8

# (32, 64): the columns are the outputs of a MatMul, each of another magnitude.
WEIGHT = np.random.default_rng(1).standard_normal((32, 64)).astype(np.float32) * np.geomspace(
    1e-3, 1e3, 64, dtype=np.float32
)


@pytest.fixture
def graph(tmp_path):
    def write(weight):
        rows = ["batch", weight.shape[0]]
        made = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, rows)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", weight.shape[1]])],
            [numpy_helper.from_array(weight, "w")],
        )
        opset = [helper.make_opsetid("", 18)]
        onnx.save(helper.make_model(made, opset_imports=opset, ir_version=10), tmp_path / "a.onnx")
        return tmp_path / "a.onnx"

    return write


def test_each_output_channel_has_a_scale_of_its_own(graph, tmp_path):
    stored = tmp_path / "b.onnx"
    assert store_weights_as_int8(graph(WEIGHT), stored) == 1
    restored = run_session(open_session(stored))(np.eye(32, dtype=np.float32))[0]
    step = np.abs(WEIGHT).max(axis=0) / 127  # half of it is what rounding may cost
    assert (np.abs(restored - WEIGHT) <= step * 0.501).all()
    assert np.abs(restored - WEIGHT).max() > 0


def test_a_quarter_of_the_disk(graph, tmp_path):
    store_weights_as_int8(graph(WEIGHT), tmp_path / "b.onnx")
    weights = {w.name: w for w in onnx.load(tmp_path / "b.onnx").graph.initializer}
    assert sorted(weights) == ["w_int8", "w_scale"]
    assert len(weights["w_int8"].raw_data) * 4 == WEIGHT.nbytes


def test_the_runtime_makes_floats_of_them_when_it_opens_the_file(graph, tmp_path):
    store_weights_as_int8(graph(WEIGHT), tmp_path / "b.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "c.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        str(tmp_path / "b.onnx"), options, providers=["CPUExecutionProvider"]
    )
    assert [node.op_type for node in onnx.load(tmp_path / "c.onnx").graph.node] == ["MatMul"]


def test_a_channel_of_zeros_stays_zero(graph, tmp_path):
    weight = WEIGHT * (np.arange(64) != 5)
    store_weights_as_int8(graph(weight), tmp_path / "b.onnx")
    restored = run_session(open_session(tmp_path / "b.onnx"))(np.eye(32, dtype=np.float32))[0]
    assert not restored[:, 5].any()
    assert np.isfinite(restored).all()


def test_a_graph_of_small_weights_only(graph, tmp_path):
    with pytest.raises(DerivationError, match="1024"):
        store_weights_as_int8(graph(WEIGHT[:, :4]), tmp_path / "b.onnx")


def test_weights_that_are_whole_numbers_already(graph, tmp_path):
    store_weights_as_int8(graph(WEIGHT), tmp_path / "b.onnx")
    with pytest.raises(DerivationError, match="its weights are INT8 already"):
        store_weights_as_int8(tmp_path / "b.onnx", tmp_path / "c.onnx")
