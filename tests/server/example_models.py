"""The model repository that Triton's example programs ask for, of tiny graphs of our own.

`simple`, `simple_int8` and `simple_string` give the sum and the difference of two rows of 16
numbers, `simple_identity` gives its texts back, and two classifiers of pictures carry the names
that the programs know. Of the two that keep sequences there is the configuration: they cannot be
served, and say why.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from tests.server.tiny import FLOAT, graph, identity

CLASSES = 1001
_IMAGE_CONFIG = """\
max_batch_size: 8
input { name: "input" data_type: TYPE_FP32 format: FORMAT_NHWC dims: [ 299, 299, 3 ] }
output {
  name: "InceptionV3/Predictions/Softmax"
  data_type: TYPE_FP32
  dims: 1001
  label_filename: "labels.txt"
}
"""


def sum_and_difference(onnx_type: int) -> onnx.ModelProto:
    """OUTPUT0 = INPUT0 + INPUT1 and OUTPUT1 = INPUT0 - INPUT1, computed as whole numbers."""
    shape = ["batch", 16]
    steps = [
        *(
            helper.make_node("Cast", [f"INPUT{n}"], [f"number{n}"], to=TensorProto.INT32)
            for n in (0, 1)
        ),
        helper.make_node("Add", ["number0", "number1"], ["sum"]),
        helper.make_node("Sub", ["number0", "number1"], ["difference"]),
        helper.make_node("Cast", ["sum"], ["OUTPUT0"], to=onnx_type),
        helper.make_node("Cast", ["difference"], ["OUTPUT1"], to=onnx_type),
    ]
    return graph(
        steps,
        dict.fromkeys(("INPUT0", "INPUT1"), (onnx_type, shape)),
        dict.fromkeys(("OUTPUT0", "OUTPUT1"), (onnx_type, shape)),
    )


def texts() -> onnx.ModelProto:
    """OUTPUT0 = INPUT0, rows of any number of texts."""
    model = identity(TensorProto.STRING, ["batch", "texts"])
    (node,) = model.graph.node
    node.input[:], node.output[:] = ["INPUT0"], ["OUTPUT0"]
    model.graph.input[0].name, model.graph.output[0].name = "INPUT0", "OUTPUT0"
    return model


def classifier() -> onnx.ModelProto:
    """Probabilities by the mean colour: an answer that depends on the picture, and no more."""
    weights = np.random.default_rng(0).standard_normal((3, CLASSES), np.float32)
    output = "InceptionV3/Predictions/Softmax"
    return graph(
        [
            helper.make_node("ReduceMean", ["input", "plane"], ["colour"], keepdims=0),
            helper.make_node("MatMul", ["colour", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], [output]),
        ],
        {"input": (FLOAT, ["batch", 299, 299, 3])},
        {output: (FLOAT, ["batch", CLASSES])},
        {"plane": np.int64([1, 2]), "weights": weights},
    )


def write_repository(path: Path) -> None:
    """Writes the eight models into a folder."""
    batched = "max_batch_size: 8\ndynamic_batching {}\n"
    _write(path / "simple", sum_and_difference(TensorProto.INT32), batched)
    _write(path / "simple_int8", sum_and_difference(TensorProto.INT8), batched)
    _write(path / "simple_string", sum_and_difference(TensorProto.STRING), batched)
    _write(path / "simple_identity", texts(), batched)
    for name in ("densenet_onnx", "inception_graphdef"):
        _write(path / name, classifier(), _IMAGE_CONFIG)
        labels = "\n".join(f"class {number}" for number in range(CLASSES))
        (path / name / "labels.txt").write_text(labels, encoding="utf-8")
    for name in ("simple_sequence", "simple_dyna_sequence"):
        _write(path / name, texts(), "max_batch_size: 8\nsequence_batching {}\n")


def _write(folder: Path, model: onnx.ModelProto, config: str) -> None:
    (folder / "1").mkdir(parents=True)
    onnx.save(model, folder / "1" / "model.onnx")
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
