import numpy as np
import pytest
from tests.client.fake import read_inputs

from eyespot.client import AnswerError, ClientError, PictureError
from eyespot.client.answers import read_infer
from eyespot.v1 import inference_pb2 as pb


def test_an_array_goes_to_the_only_input_in_one_request(client, servicer):
    pixels = np.arange(3 * 12, dtype=np.uint8).reshape(3, 2, 2, 3)
    result = client.infer("colors", pixels)
    # Row 0, colour 0: 0 + 3 + 6 + 9.
    assert result.outputs["logits"][0].tolist() == [18, 22, 26]
    assert result.outputs["logits"].shape == (3, 3)
    assert (result.model_name, result.model_version) == ("colors", "2")
    assert result.parameters == {"queue_ms": 0.5}
    [request] = servicer.of(pb.ModelInferRequest)
    assert request.inputs[0].datatype == "UINT8"
    np.testing.assert_array_equal(read_inputs(request)["image"], pixels)


def test_several_inputs_go_by_name_and_outputs_can_be_chosen(client, servicer):
    inputs = {"b": np.array([[10]]), "a": np.array([[1, 2]], np.float32)}
    assert client.infer("pair", inputs).outputs["sum"].tolist() == [[11, 12]]
    assert list(client.infer("pair", inputs, outputs=["b"]).outputs) == ["b"]


def test_the_result_says_what_it_holds_in_one_line(client):
    result = client.infer("colors", np.zeros((1, 2, 2, 3), np.uint8))
    assert repr(result) == "InferResult(colors version 2, logits: float32 (1, 3))"


def test_typed_contents_of_other_servers_are_read(client, servicer):
    servicer.has_typed_contents = True
    inputs = {"a": np.array([[1, 2]], np.float32), "b": np.array([[10]])}
    outputs = client.infer("pair", inputs).outputs
    assert outputs["sum"].tolist() == [[11, 12]]
    assert outputs["b"].dtype == np.int64


@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.int16, ">f4"])
def test_a_cast_without_loss_is_made(client, dtype):
    inputs = {"a": np.array([[1, 2]], dtype), "b": np.array([[10]])}
    assert client.infer("pair", inputs).outputs["sum"].tolist() == [[11, 12]]


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int64, np.complex64])
def test_a_cast_that_may_lose_something_is_refused(client, servicer, dtype):
    inputs = {"a": np.array([[1, 2]], dtype), "b": np.array([[10]])}
    with pytest.raises(ClientError, match=f"'a' takes FP32 .*found {np.dtype(dtype)}"):
        client.infer("pair", inputs)
    assert not servicer.of(pb.ModelInferRequest)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((1, 2), np.float32), r"2 inputs \(a, b\): give a dict"),
        ({"a": np.zeros((1, 2), np.float32)}, "takes the inputs 'a', 'b', found 'a'"),
        ({"a": [[1, 2]], "b": np.zeros((1, 1))}, "'a' takes a NumPy array, found list"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_here(client, servicer, inputs, message):
    with pytest.raises(ClientError, match=message):
        client.infer("pair", inputs)
    assert not servicer.of(pb.ModelInferRequest)


def test_pictures_go_through_the_rule_and_are_split_and_joined_in_order(client, servicer, picture):
    colors = [(10, 0, 0), (20, 0, 0), (30, 0, 0), (40, 0, 0), (50, 0, 0)]
    result = client.infer("colors", [picture(color) for color in colors])
    # Four pixels of each: red times four.
    assert result.outputs["logits"][:, 0].tolist() == [40, 80, 120, 160, 200]
    requests = servicer.of(pb.ModelInferRequest)
    assert [request.inputs[0].shape[0] for request in requests] == [2, 2, 1]


def test_paths_and_arrays_may_stand_among_the_pictures(client, picture, tmp_path):
    picture((0, 7, 0)).save(tmp_path / "green.png")
    rows = [tmp_path / "green.png", np.full((2, 2, 3), 2, np.uint8)]
    assert client.infer("colors", rows).outputs["logits"].tolist() == [[0, 28, 0], [8, 8, 8]]
    alone = client.infer("colors", str(tmp_path / "green.png"))
    assert alone.outputs["logits"].tolist() == [[0, 28, 0]]


def test_rule_and_metadata_are_asked_for_once(client, servicer, picture):
    for _ in range(3):
        client.infer("colors", picture("red"))
    assert len(servicer.of(pb.ModelMetadataRequest)) == 1
    assert len(servicer.of(pb.ModelConfigRequest)) == 1
    client.infer("colors", picture("red"), model_version="1")
    assert [r.version for r in servicer.of(pb.ModelConfigRequest)] == ["", "1"]


def test_arrays_need_no_configuration(client, servicer):
    servicer.has_config = False
    client.infer("colors", np.zeros((1, 2, 2, 3), np.uint8))
    assert not servicer.of(pb.ModelConfigRequest)


def test_a_picture_for_a_model_without_a_rule_is_refused(client, picture):
    with pytest.raises(ClientError, match=r"'planes' tells no preprocessing rule.*NumPy arrays"):
        client.infer("planes", picture("red"))


def test_a_server_without_configurations_gets_no_pictures(client, servicer, picture):
    servicer.has_config = False
    with pytest.raises(ClientError, match="tells no preprocessing rule"):
        client.infer("colors", picture("red"))


def test_a_broken_picture_is_named(client, picture, tmp_path):
    picture("red", size=(60, 60)).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "torn.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("no picture")
    for name, why in [
        ("torn.png", "truncated"),
        ("text.png", "not a picture in a format that is read"),
        ("absent.png", "no such file"),
    ]:
        with pytest.raises(PictureError, match=f"{name} cannot be read: .*{why}"):
            client.infer("colors", [picture("red"), tmp_path / name])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "list of pictures is empty"),
        (7, "expected a picture, a list of pictures or a NumPy array, found int"),
        ([7], "a picture is a PIL image, a path, bytes or a NumPy array, found int"),
    ],
)
def test_what_is_no_picture_is_refused(client, images, message):
    with pytest.raises(ClientError, match=message):
        client.infer("colors", images)


def test_rows_of_different_shapes_are_refused(client):
    rows = [np.zeros((2, 2, 3), np.uint8), np.zeros((4, 2, 3), np.uint8)]
    with pytest.raises(PictureError, match=r"one shape, found \[\(2, 2, 3\), \(4, 2, 3\)\]"):
        client.infer("colors", rows)


def test_an_answer_that_breaks_the_protocol_is_told():
    answer = pb.ModelInferResponse(raw_output_contents=[b"123"])
    answer.outputs.add(name="logits", datatype="FP32", shape=[1, 1])
    with pytest.raises(AnswerError, match=r"output 'logits': FP32 of shape .* takes 4 bytes"):
        read_infer(answer)
    answer.raw_output_contents.append(b"")
    with pytest.raises(AnswerError, match="1 outputs are told, 2 are there"):
        read_infer(answer)
