import dataclasses
import io

import grpc
import numpy as np
import pytest
from PIL import Image

from eyespot.client import AnswerError, ClientError, ExplainTarget, InvalidArgumentError
from eyespot.client.answers import read_attributions
from eyespot.client.question import Asked, Question
from eyespot.v1 import explain_pb2


def test_each_picture_gets_an_explanation(client, servicer, picture):
    first, *_, last = client.explain("colors", [picture((1, 5, 2))] * 2 + [picture((9, 0, 0))])
    assert first.attributions.tolist() == [[5, 5], [5, 5]]
    assert last.attributions.tolist() == [[9, 9], [9, 9]]
    assert (first.target, first.label, first.score) == (2, "blue", 1.5)
    assert first.reports == {"steps": 3.0}
    assert (first.model_name, first.model_version, first.method) == ("colors", "2", "saliency")
    assert first.pixels.tolist() == [[[1, 5, 2]] * 2] * 2
    requests = servicer.of(explain_pb2.ExplainRequest)
    assert [request.inputs[0].shape[0] for request in requests] == [2, 1]
    assert not requests[0].targets
    assert requests[0].score == explain_pb2.SCORE_LOGIT
    assert requests[0].channel_reduction == explain_pb2.CHANNEL_REDUCTION_MAX
    assert repr(first) == (
        "Explanation(saliency of colors version 2, target 2 'blue', logit 1.5, attributions (2, 2))"
    )


def test_everything_that_is_asked_for_travels(client, servicer, picture):
    [explanation] = client.explain(
        "colors",
        picture("red"),
        method="smooth",
        target="green",
        score="binary_probability",
        channel_reduction="none",
        parameters={"n_steps": 3, "noise": 0.5, "is_squared": True, "layer": "relu"},
        model_version="2",
    )
    [request] = servicer.of(explain_pb2.ExplainRequest)
    assert (request.method, request.model_version) == ("smooth", "2")
    assert [target.label for target in request.targets] == ["green"]
    assert request.score == explain_pb2.SCORE_BINARY_PROBABILITY
    assert request.channel_reduction == explain_pb2.CHANNEL_REDUCTION_NONE
    assert request.parameters["n_steps"].int64_param == 3
    assert request.parameters["noise"].double_param == 0.5
    assert request.parameters["is_squared"].bool_param is True
    assert request.parameters["layer"].string_param == "relu"
    assert explanation.attributions.shape == (2, 2, 3)
    assert explanation.score_name == "binary_probability"


def test_targets_per_row_stay_with_their_rows(client, servicer, picture):
    explanations = client.explain("colors", [picture("red")] * 3, target=[0, np.int64(1), 2])
    assert [each.target for each in explanations] == [0, 1, 2]
    sent = [
        [target.index for target in request.targets]
        for request in servicer.of(explain_pb2.ExplainRequest)
    ]
    assert sent == [[0, 1], [2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": [0, 1]}, "found 2 for 3 rows"),
        ({"target": 0.5}, r"class index \(int\) or a label \(str\), found float"),
        ({"score": "loss"}, "score must be one of logit, .* found 'loss'"),
        ({"channel_reduction": "sum"}, "must be one of max, mean, none, found 'sum'"),
        ({"parameters": {"n": [1]}}, "'n' must be a bool, int, float or str, found list"),
    ],
)
def test_what_cannot_be_asked_is_refused_here(client, servicer, picture, arguments, message):
    with pytest.raises(ClientError, match=message):
        client.explain("colors", [picture("red")] * 3, **arguments)
    assert not servicer.of(explain_pb2.ExplainRequest)


def test_channels_that_come_first_end_up_last(client):
    planes = np.arange(6, dtype=np.float32).reshape(1, 2, 3)  # (C, H, W)
    [reduced] = client.explain("planes", planes)
    assert reduced.attributions.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert reduced.pixels is None
    [raw] = client.explain("planes", planes, channel_reduction="none")
    assert raw.attributions.shape == (2, 3, 1)


def test_an_answer_with_too_few_rows_is_told():
    answer = explain_pb2.ExplainResponse(raw_output_contents=[bytes(8)])
    answer.attributions.datatype = "FP32"
    answer.attributions.shape.extend([2, 1])
    answer.rows.add()
    with pytest.raises(AnswerError, match="1 rows are told, the attributions have 2"):
        read_attributions(answer)


def test_a_target_may_say_more_than_a_class(client, servicer, picture):
    region = np.array([[True, False], [False, True]])
    client.explain("colors", picture("red"), target=ExplainTarget("green", against=0, step=2))
    client.explain("colors", picture("red"), target=[ExplainTarget(region=region)])
    client.explain("colors", picture("red"), target=ExplainTarget(embedding=np.ones(3)))
    contrast, of_region, similar = (
        request.targets[0] for request in servicer.of(explain_pb2.ExplainRequest)
    )
    assert (contrast.label, contrast.WhichOneof("against"), contrast.step) == (
        "green",
        "against_index",
        2,
    )
    assert (of_region.region, list(of_region.region_shape)) == (b"\1\0\0\1", [2, 2])
    assert of_region.WhichOneof("target") is None
    assert not of_region.HasField("step")
    assert list(similar.embedding) == [1, 1, 1]
    with pytest.raises(ClientError, match=r"a region is a bool array \(H, W\), found int64"):
        client.explain("colors", picture("red"), target=ExplainTarget(region=np.array([[1]])))


def test_the_top_classes_of_a_picture_stand_together(client, servicer, picture):
    explanations = client.explain("colors", [picture("red"), picture("blue")], top_k=2)
    assert [request.targets_per_row for request in servicer.of(explain_pb2.ExplainRequest)] == [2]
    assert [each.target for each in explanations] == [2, 1, 2, 1]
    assert explanations[1].pixels.tolist() == explanations[0].pixels.tolist()
    assert explanations[2].pixels.tolist() != explanations[0].pixels.tolist()
    for wrong in ({"top_k": 0}, {"top_k": 2, "target": 1}):
        with pytest.raises(ClientError, match="top_k is 1 or more"):
            client.explain("colors", picture("red"), **wrong)


def test_what_was_asked_about_is_named(client, picture):
    [plain] = client.explain("colors", picture("red"))
    assert plain.title == "blue"
    for against in ("red", 0):
        [contrast] = client.explain(
            "colors", picture("red"), target=ExplainTarget(target=1, against=against)
        )
        assert contrast.title == "green rather than red"
        assert contrast.score_name == "difference of logits"
    vector = np.zeros(3, np.float32)
    [alike] = client.explain("colors", picture("red"), target=ExplainTarget(embedding=vector))
    assert (alike.title, alike.score_name) == ("likeness to the embedding", "cosine similarity")


def test_what_has_no_channels_is_not_reduced(client, servicer):
    client.explain("planes", np.zeros((1, 1, 2, 3), np.float32))
    assert servicer.of(explain_pb2.ExplainRequest)[-1].channel_reduction == (
        explain_pb2.CHANNEL_REDUCTION_MAX
    )
    client.explain("signal", np.zeros((1, 2, 3), np.float32))
    assert servicer.of(explain_pb2.ExplainRequest)[-1].channel_reduction == (
        explain_pb2.CHANNEL_REDUCTION_NONE
    )


def test_a_stream_tells_what_is_known_by_then(client, servicer, picture):
    pictures = [picture((1, 5, 2))] * 2 + [picture((9, 0, 0))]
    known = list(client.explain_stream("colors", pictures, method="rise"))
    # Two requests, of two pictures and of one, each in two halves.
    assert [each.progress for each in known] == pytest.approx([1 / 3, 2 / 3, 5 / 6, 1])
    assert [len(each.explanations) for each in known] == [2, 2, 3, 3]
    strongest = [[map_.attributions.max() for map_ in each.explanations] for each in known]
    assert strongest == [[2.5, 2.5], [5, 5], [5, 5, 4.5], [5, 5, 9]]
    assert known[-1].explanations[2].pixels.tolist() == [[[9, 0, 0]] * 2] * 2
    assert repr(known[0]) == "ExplainProgress(33%, 2 explanations)"
    requests = servicer.of(explain_pb2.ExplainRequest)
    assert [request.method for request in requests] == ["rise", "rise"]


def test_a_stream_that_is_left_is_cancelled(client, servicer, picture):
    stream = client.explain_stream("colors", [picture("red")] * 3)
    servicer.whole.clear()  # the server does not end by itself
    assert next(stream).progress == pytest.approx(1 / 3)
    assert not servicer.has_ended.is_set()
    stream.close()
    assert servicer.has_ended.wait(10)
    assert len(servicer.of(explain_pb2.ExplainRequest)) == 1  # the third picture is not sent


def test_a_stream_fails_as_a_call_does(client, servicer, picture, time):
    servicer.failures = []
    list(client.explain_stream("colors", picture("red")))
    servicer.failures = [grpc.StatusCode.UNAVAILABLE]
    assert [each.progress for each in client.explain_stream("colors", picture("red"))] == [0.5, 1]
    assert len(time.pauses) == 1
    servicer.failures = [grpc.StatusCode.INVALID_ARGUMENT]
    with pytest.raises(InvalidArgumentError, match="on purpose"):
        next(client.explain_stream("colors", picture("red")))
    with pytest.raises(ClientError, match="found 'sum'"):
        next(client.explain_stream("colors", picture("red"), channel_reduction="sum"))


def test_maps_may_travel_as_pngs(client, servicer, picture):
    written = io.BytesIO()
    Image.fromarray(np.array([[0, 255], [51, 204]], np.uint8)).save(written, "PNG")
    servicer.png = written.getvalue()
    [explanation] = client.explain("colors", picture("red"), encoding="png")
    np.testing.assert_allclose(explanation.attributions, [[-1, 1], [-0.6, 0.6]], atol=1e-6)
    [request] = servicer.of(explain_pb2.ExplainRequest)
    assert request.encoding == explain_pb2.ATTRIBUTION_ENCODING_PNG
    servicer.png = b"torn"
    with pytest.raises(AnswerError, match="no PNGs of maps"):
        client.explain("colors", picture("red"), encoding="png")
    with pytest.raises(ClientError, match="encoding must be one of raw, png, found 'jpg'"):
        client.explain("colors", picture("red"), encoding="jpg")


def test_likeness_to_a_picture_is_that_to_its_vector(client, servicer, picture, tmp_path):
    picture((3, 4, 0)).save(tmp_path / "liked.png")
    [explanation] = client.explain("scene", picture("red"), like=tmp_path / "liked.png")
    [request] = servicer.of(explain_pb2.ExplainRequest)
    assert list(request.targets[0].embedding) == [3, 4, 0]  # the mean colour
    assert explanation.title == "likeness to liked.png"
    [other] = client.explain("scene", picture("red"), like=picture("blue"))
    assert other.title == "likeness to the picture"
    for wrong in ({"target": 1}, {"top_k": 2}):
        with pytest.raises(ClientError, match="in place of a target"):
            client.explain("scene", picture("red"), like=picture("blue"), **wrong)
    with pytest.raises(ClientError, match="like is one picture, found 2"):
        client.explain("scene", picture("red"), like=np.zeros((2, 2, 2, 3), np.uint8))


def test_what_may_be_asked_is_what_a_question_holds():
    asked = {name: str(kind.__forward_arg__) for name, kind in Asked.__annotations__.items()}
    assert asked == {field.name: field.type for field in dataclasses.fields(Question)}


def test_a_word_that_is_no_part_of_a_question_is_told(client, picture):
    with pytest.raises(TypeError, match="metod"):
        client.explain("colors", picture("red"), metod="saliency")
