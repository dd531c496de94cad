"""Files are sent as they are where the server decodes them, and the answers are the same."""

import pytest

from eyespot.client import PictureError
from eyespot.client import pictures as client_pictures
from eyespot.v1 import inference_pb2 as pb


@pytest.fixture
def taking(servicer):
    servicer.image_formats = "JPEG,PNG,WEBP"
    return servicer


def asked(servicer):
    """The model and the datatype of each request for inference."""
    return [(r.model_name, r.inputs[0].datatype) for r in servicer.of(pb.ModelInferRequest)]


@pytest.fixture
def file(picture, tmp_path):
    def write(name, color):
        picture(color).save(tmp_path / name)
        return tmp_path / name

    return write


def test_a_file_travels_as_it_is(client, taking, file, picture):
    path = file("green.png", (0, 9, 0))
    encoded = client.classify("colors", path)
    assert asked(taking) == [("colors_image", "BYTES")]
    (request,) = taking.of(pb.ModelInferRequest)
    assert request.raw_input_contents[0][4:] == path.read_bytes()
    assert encoded == client.classify("colors", picture((0, 9, 0)))
    assert asked(taking)[1] == ("colors", "UINT8")


def test_several_files_share_requests(client, taking, file):
    paths = [file(f"{n}.png", (0, n, 0)) for n in range(3)]
    answers = client.classify("colors", [str(path) for path in paths], top_k=1)
    assert [best.logit for (best,) in answers] == [0, 4, 8]
    assert [r.inputs[0].shape[0] for r in taking.of(pb.ModelInferRequest)] == [2, 1]


def test_the_answer_is_that_of_the_model(client, taking, file):
    result = client.infer("colors", file("red.webp", (9, 0, 0)))
    assert result.model_name == "colors"
    assert client.model_metadata("colors").inputs[0].datatype == "UINT8"


def test_a_server_that_does_not_tell_of_it_gets_pixels(client, servicer, file):
    client.classify("colors", file("red.png", (9, 0, 0)))
    assert asked(servicer) == [("colors", "UINT8")]


def test_what_is_no_file_of_its_formats_is_prepared_here(client, taking, file, picture):
    taking.image_formats = "JPEG"
    client.classify("colors", file("red.png", (9, 0, 0)))
    client.classify("colors", file("red.bmp", (9, 0, 0)))
    client.classify("colors", [file("red.jpg", (9, 0, 0)), picture((9, 0, 0))])
    assert asked(taking) == [("colors", "UINT8")] * 3


def test_what_is_large_is_prepared_here(client, taking, file, monkeypatch):
    path = file("red.png", (9, 0, 0))
    monkeypatch.setattr(client_pictures, "MOST_ENCODED_BYTES", path.stat().st_size - 1)
    client.classify("colors", path)
    monkeypatch.setattr(client_pictures, "MOST_ENCODED_BYTES", path.stat().st_size)
    client.classify("colors", path)
    assert asked(taking) == [("colors", "UINT8"), ("colors_image", "BYTES")]


def test_a_broken_file_is_named(client, taking, file, tmp_path):
    torn = tmp_path / "torn.png"
    torn.write_bytes(file("red.png", (9, 0, 0)).read_bytes()[:40])
    with pytest.raises(PictureError, match=r"torn\.png cannot be read"):
        client.classify("colors", torn)
    with pytest.raises(PictureError, match=r"nowhere\.png cannot be read: no such file"):
        client.classify("colors", tmp_path / "nowhere.png")


def test_a_server_that_has_it_no_more_gets_pixels(client, taking, file, monkeypatch):
    path = file("red.png", (9, 0, 0))
    monkeypatch.setitem(taking_inputs(), "colors_image", None)
    monkeypatch.delitem(taking_inputs(), "colors_image")
    taking.image_formats = "PNG"
    assert client.classify("colors", path)[0][0].label == "red"
    taking.image_formats = ""
    client.classify("colors", path)
    assert asked(taking) == [("colors", "UINT8")] * 2


def taking_inputs():
    from tests.client import fake

    return fake.INPUTS


def test_explanations_are_of_pixels(client, taking, file):
    client.explain("colors", file("red.png", (9, 0, 0)))
    assert asked(taking) == []


@pytest.mark.parametrize("name", ["green.png", "green.jpg", "green.webp"])
def test_bytes_travel_as_files_do(client, taking, file, name):
    content = file(name, (0, 9, 0)).read_bytes()
    assert client.classify("colors", content) == client.classify("colors", [content])
    assert client.infer("colors", [content, content]).outputs["logits"].shape == (2, 3)
    assert asked(taking) == [("colors_image", "BYTES")] * 3
    assert taking.of(pb.ModelInferRequest)[0].raw_input_contents[0][4:] == content


def test_bytes_are_decoded_here_where_the_server_does_not(client, servicer, file):
    path = file("green.png", (0, 9, 0))
    assert client.classify("colors", path.read_bytes()) == client.classify("colors", path)
    assert asked(servicer) == [("colors", "UINT8")] * 2
    assert len(client.explain("colors", [path.read_bytes()])) == 1


def test_bytes_that_are_no_picture_are_told(client, taking, file):
    with pytest.raises(PictureError, match=r"JPEG, PNG, WEBP; found 5 that begin with b'hello'"):
        client.classify("colors", b"hello")
    torn = file("red.png", (9, 0, 0)).read_bytes()[:40]
    with pytest.raises(PictureError, match=r"the picture cannot be read: "):
        client.classify("colors", [torn])
    assert asked(taking) == [("colors_image", "BYTES")]  # the torn one: the server may know more
