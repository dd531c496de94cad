"""External data: found wherever a tensor may be, and followed nowhere out of the folder."""

import os
import re

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from eyespot.v1.external_data import (
    ExternalDataError,
    check_external_data,
    read_external_tensors,
)


def tensor(name, **entries):
    found = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2])
    found.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": "weights.bin"} | entries).items():
        found.external_data.add(key=key, value=value)
    return found


def attribute(name, **fields):
    return onnx.AttributeProto(name=name, **fields)


def graph(*, nodes=(), **fields):
    return onnx.GraphProto(name="graph", node=nodes, **fields)


def node(*attributes):
    return onnx.NodeProto(op_type="Constant", output=["y"], attribute=attributes)


def sparse(values=None, indices=None):
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[4])


def write(folder, model):
    if isinstance(model, onnx.GraphProto):
        model = onnx.ModelProto(ir_version=10, graph=model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


HIDDEN = tensor("hidden")
PLACES = {
    "initializer": graph(initializer=[HIDDEN]),
    "sparse values": graph(sparse_initializer=[sparse(values=HIDDEN)]),
    "sparse indices": graph(sparse_initializer=[sparse(indices=HIDDEN)]),
    "attribute": graph(nodes=[node(attribute("value", t=HIDDEN))]),
    "attribute of many": graph(nodes=[node(attribute("values", tensors=[HIDDEN]))]),
    "sparse attribute": graph(
        nodes=[node(attribute("sparse_value", sparse_tensor=sparse(values=HIDDEN)))]
    ),
    "sparse attribute of many": graph(
        nodes=[node(attribute("values", sparse_tensors=[sparse(indices=HIDDEN)]))]
    ),
    "subgraph": graph(nodes=[node(attribute("body", g=graph(initializer=[HIDDEN])))]),
    "one of many subgraphs": graph(
        nodes=[node(attribute("bodies", graphs=[graph(), graph(initializer=[HIDDEN])]))]
    ),
    "subgraph of a subgraph": graph(
        nodes=[
            node(
                attribute(
                    "body", g=graph(nodes=[node(attribute("body", g=graph(initializer=[HIDDEN])))])
                )
            )
        ]
    ),
    "function": onnx.ModelProto(
        functions=[onnx.FunctionProto(name="f", node=[node(attribute("value", t=HIDDEN))])]
    ),
    "default of a function": onnx.ModelProto(
        functions=[onnx.FunctionProto(name="f", attribute_proto=[attribute("value", t=HIDDEN)])]
    ),
    "training, first": onnx.ModelProto(
        training_info=[onnx.TrainingInfoProto(initialization=graph(initializer=[HIDDEN]))]
    ),
    "training, each step": onnx.ModelProto(
        training_info=[onnx.TrainingInfoProto(algorithm=graph(initializer=[HIDDEN]))]
    ),
}


@pytest.mark.parametrize("model", PLACES.values(), ids=PLACES)
def test_every_tensor_of_a_file_is_found(model, tmp_path):
    (found,) = read_external_tensors(write(tmp_path, model))
    assert (found.name, found.entries) == ("hidden", (("location", "weights.bin"),))
    with pytest.raises(ExternalDataError, match=r"'hidden' are in 'weights\.bin': No such file"):
        check_external_data(tmp_path / "model.onnx")


def test_weights_within_the_graph_are_none(tmp_path):
    weights = numpy_helper.from_array(numpy_helper.np.arange(6.0).reshape(2, 3), "weights")
    output = helper.make_tensor_value_info("weights", TensorProto.DOUBLE, [2, 3])
    whole = helper.make_graph([], "graph", [], [output], [weights])
    assert check_external_data(write(tmp_path, whole)) == ()


def test_files_within_the_folder_are_named_once(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "weights.bin").write_bytes(bytes(16))
    tensors = [
        tensor("first", location="deep/weights.bin", length="8"),
        tensor("second", location="./deep/weights.bin", offset="8", length="8", checksum="0" * 40),
    ]
    assert check_external_data(write(tmp_path, graph(initializer=tensors))) == ("deep/weights.bin",)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"location": "../weights.bin"}, "'../weights.bin', which is no path within the model's"),
        ({"location": "a/../../weights.bin"}, "no path within the model's folder"),
        ({"location": "/etc/passwd"}, "'/etc/passwd', which is no path within the model's folder"),
        ({"location": "..\\weights.bin"}, "no path within the model's folder"),
        ({"location": "weights.bin\0.txt"}, "no path within the model's folder"),
        ({"location": ""}, "no path within the model's folder"),
        # ONNX Runtime's own mark for an address in memory.
        ({"location": "*/_ORT_MEM_ADDR_/*", "offset": "4096"}, "No such file"),
        ({"location": "link.bin"}, "'link.bin', which is a link or no file"),
        ({"location": "linked/alone.bin"}, "a link or no file"),
        ({"location": "hard.bin"}, "'hard.bin', which is a link or no file"),
        ({"location": "folder"}, "a link or no file"),
        ({"location": "good.bin/more"}, "Not a directory"),
        ({"location": "good.bin", "length": "9"}, "end at byte 9 of 'good.bin', which has 8"),
        ({"location": "good.bin", "offset": "4", "length": "5"}, "end at byte 9"),
        ({"location": "good.bin", "offset": str(2**64)}, "no number of bytes"),
        ({"location": "good.bin", "offset": "-1"}, "the offset '-1', which is no number of bytes"),
        ({"location": "good.bin", "length": "0x8"}, "no number of bytes"),
        ({"location": "good.bin", "__class__": "x"}, "the keys 'location', '__class__'"),
    ],
)  # fmt: skip
def test_what_is_not_to_be_followed(entries, told, tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    (inside / "folder").mkdir(parents=True)
    for name in ("secret.bin", "alone.bin"):
        (outside / name).write_bytes(bytes(8))
    (inside / "good.bin").write_bytes(bytes(8))
    (inside / "link.bin").symlink_to(outside / "secret.bin")
    (inside / "linked").symlink_to(outside)
    os.link(outside / "secret.bin", inside / "hard.bin")
    path = write(inside, graph(initializer=[tensor("w", **entries)]))
    with pytest.raises(ExternalDataError, match=re.escape(told)):
        check_external_data(path)


def test_one_key_twice_is_refused(tmp_path):
    (tmp_path / "weights.bin").write_bytes(bytes(8))
    twice = tensor("w")
    twice.external_data.add(key="location", value="../weights.bin")
    with pytest.raises(ExternalDataError, match="'location', 'location' in external_data"):
        check_external_data(write(tmp_path, graph(initializer=[twice])))


def test_a_tensor_elsewhere_without_a_place_is_refused(tmp_path):
    lost = TensorProto(name="w", data_location=TensorProto.EXTERNAL)
    with pytest.raises(ExternalDataError, match="'w' are in ''"):
        check_external_data(write(tmp_path, graph(initializer=[lost])))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"model\.onnx is empty"),
        (b"\x3a\x05\x0a", "a field at byte 2 is longer than what holds it"),
        (b"\x3a" + b"\xff" * 11, "a number at byte 1 has no end"),
        (b"\x3b", "there is no wire type 3"),
        (b"\x80", "a number at byte 0 has no end"),
    ],
)
def test_what_is_no_protobuf_is_refused(content, told, tmp_path):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ExternalDataError, match=told):
        check_external_data(tmp_path / "model.onnx")
