"""Targets and choices from the wire, without a server."""

import difflib
from types import SimpleNamespace

import numpy as np
import pytest

from eyespot.server.errors import InvalidArgumentError
from eyespot.server.explain_decoding import read_call, read_encoding, read_output
from eyespot.v1 import explain_pb2 as pb
from eyespot.v1 import inference_pb2

X = np.zeros((2, 3, 4, 4), np.float32)


def model(*output_shape):
    output = SimpleNamespace(shape=output_shape or (-1, 3))
    return SimpleNamespace(
        name="tiny", labels=("cat", "dog", "door"), config=SimpleNamespace(outputs=[output])
    )


def read(*targets, of=None, **fields):
    request = pb.ExplainRequest(targets=targets, **fields)
    return read_call(request, of or model(), X, None)


def test_what_is_not_said_has_its_default():
    call = read()
    assert (call.method, call.score, call.channel_reduction) == ("saliency", "logit", "none")
    assert (call.targets, call.targets_per_row, call.parameters) == (None, 1, {})
    assert read_encoding(pb.ExplainRequest()) == "raw"


def test_a_region_is_a_byte_for_each_place():
    region = pb.ExplainTarget(label="dog", region=b"\0\1\7\0\0\0", region_shape=[2, 3])
    targets = read(region, of=model(-1, 3, 2, 3)).targets
    np.testing.assert_array_equal(targets.regions, [[[False, True, True], [False] * 3]])
    np.testing.assert_array_equal(targets.classes, [1])


def test_a_step_may_be_the_first():
    targets = read(pb.ExplainTarget(step=0), pb.ExplainTarget(index=2, step=5)).targets
    np.testing.assert_array_equal(targets.steps, [0, 5])
    np.testing.assert_array_equal(targets.classes, [-1, 2])  # the top class of the first


def test_a_contrast_takes_labels_and_indices():
    targets = read(
        pb.ExplainTarget(label="cat", against_index=1), pb.ExplainTarget(against_label="door")
    ).targets
    np.testing.assert_array_equal(targets.classes, [0, -1])
    np.testing.assert_array_equal(targets.against, [1, 2])


def test_classes_of_a_map_stand_before_its_places():
    with pytest.raises(InvalidArgumentError, match=r"target index 3 .* expected from 0 to 2"):
        read(pb.ExplainTarget(index=3), of=model(-1, 3, 64, 64))
    with pytest.raises(InvalidArgumentError, match=r"target index 4 .* expected from 0 to 3"):
        read(pb.ExplainTarget(index=4), of=model(-1, 64, 4))


def test_embeddings_are_of_one_size():
    targets = read(pb.ExplainTarget(embedding=[1, 2]), pb.ExplainTarget(embedding=[3, 4])).targets
    np.testing.assert_array_equal(targets.embeddings, [[1, 2], [3, 4]])
    with pytest.raises(InvalidArgumentError, match=r"embedding differ in size: \[\(1,\), \(2,\)\]"):
        read(pb.ExplainTarget(embedding=[1, 2]), pb.ExplainTarget(embedding=[3]))


def test_what_one_target_has_all_must_have():
    with pytest.raises(InvalidArgumentError, match="1 of 2 targets have 'step'"):
        read(pb.ExplainTarget(index=0, step=1), pb.ExplainTarget(index=0))


def test_the_output_saliency_says_the_same_in_its_parameters():
    output = inference_pb2.ModelInferRequest.InferRequestedOutputTensor(name="saliency")
    assert read_output(output, model(), X, None).method == "saliency"
    output.parameters["method"].string_param = "rise"
    output.parameters["target"].int64_param = 2
    output.parameters["score"].string_param = "probability"
    output.parameters["channel_reduction"].string_param = "max"
    output.parameters["n_masks"].int64_param = 9
    call = read_output(output, model(), X, 5.0)
    assert (call.method, call.score, call.channel_reduction) == ("rise", "probability", "max")
    np.testing.assert_array_equal(call.targets.classes, [2])
    assert (call.parameters, call.deadline) == ({"n_masks": 9}, 5.0)


def test_a_parameter_without_a_value_and_an_unknown_encoding_are_invalid():
    request = pb.ExplainRequest(encoding=7)
    request.parameters["n_steps"].SetInParent()
    with pytest.raises(InvalidArgumentError, match="'n_steps' has no value"):
        read_call(request, model(), X, None)
    with pytest.raises(InvalidArgumentError, match="encoding 7 is unknown; expected raw, png"):
        read_encoding(request)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("double_param", float("nan")),
        ("double_param", float("inf")),
        ("double_param", 1.5),
        ("bool_param", True),
    ],
)
def test_a_target_of_the_output_saliency_is_an_index_or_a_label(field, value):
    output = inference_pb2.ModelInferRequest.InferRequestedOutputTensor(name="saliency")
    setattr(output.parameters["target"], field, value)
    with pytest.raises(InvalidArgumentError, match="target is an index or a label"):
        read_output(output, model(), X, None)


def test_an_index_beyond_int64_is_out_of_range_though_the_number_of_classes_is_open():
    output = inference_pb2.ModelInferRequest.InferRequestedOutputTensor(name="saliency")
    output.parameters["target"].uint64_param = 2**63
    with pytest.raises(InvalidArgumentError, match="out of range"):
        read_output(output, model(-1, -1), X, None)


def test_a_label_of_any_length_is_compared_in_short(monkeypatch):
    lengths = []
    monkeypatch.setattr(
        difflib, "get_close_matches", lambda word, *_, **__: lengths.append(len(word)) or []
    )
    with pytest.raises(InvalidArgumentError, match="has no label"):
        read(pb.ExplainTarget(label="a" * 100_000))
    assert lengths == [255]
