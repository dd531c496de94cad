import numpy as np
import pytest
from PIL import Image

from eyespot.client import ClientError, PictureError
from eyespot.client.color_maps import categorical
from eyespot.v1 import inference_pb2 as pb


def half_green(width, height):
    """Red, and the lower half green: classes 0 and 1."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, :, 0] = 200
    pixels[height // 2 :, :, 1] = 200
    return pixels


def test_each_pixel_gets_its_likeliest_class(client):
    [segmentation] = client.segment("scene", Image.fromarray(half_green(6, 4)))
    expected = np.repeat([[0], [0], [1], [1]], 6, axis=1)
    assert segmentation.classes.tolist() == expected.tolist()
    assert [(each.label, each.share) for each in segmentation.shares] == [
        ("red", 0.5),
        ("green", 0.5),
    ]


def test_pictures_of_different_sizes_go_one_by_one(client, servicer):
    pictures = [Image.fromarray(half_green(*size)) for size in [(6, 4), (3, 8)]]
    found = client.segment("scene", pictures)
    assert [each.classes.shape for each in found] == [(4, 6), (8, 3)]
    shapes = [list(request.inputs[0].shape) for request in servicer.of(pb.ModelInferRequest)]
    assert shapes == [[1, 4, 6, 3], [1, 8, 3, 3]]


def test_answers_of_different_sizes_cannot_be_joined(client):
    pictures = [Image.fromarray(half_green(*size)) for size in [(6, 4), (3, 8)]]
    with pytest.raises(ClientError, match="cannot be joined: ask about pictures of one size"):
        client.infer("scene", pictures)


def test_a_classifier_gives_no_segmentation(client, picture):
    with pytest.raises(ClientError, match=r"\(batch, classes, height, width\), found \(1, 3\)"):
        client.segment("colors", picture("red"), output="logits")


def test_the_picture_shows_each_class_in_its_colour(client):
    [segmentation] = client.segment("scene", Image.fromarray(half_green(6, 4)))
    drawn = np.asarray(segmentation.overlay(legend=False, size=4))
    assert drawn.shape == (4, 6, 3)
    # Over the grey of the picture: 0.299 * 200 for red, 0.587 * 200 for green.
    colors = categorical(np.array([0, 1]))
    for row, color, grey in ((0, colors[0], 60), (3, colors[1], 117)):
        assert np.abs(drawn[row, 0] - color * (0.7 + 0.3 * grey / 255)).max() <= 1


def test_the_legend_stands_beside_the_picture(client, tmp_path):
    [segmentation] = client.segment("scene", Image.fromarray(half_green(6, 4)))
    framed = segmentation.overlay(size=200)
    alone = segmentation.overlay(legend=False, size=200)
    assert framed.width > 2 * alone.width + 100  # the picture, its classes and their names
    pixels = np.asarray(framed).reshape(-1, 3)
    for color in categorical(np.array([0, 1])):
        assert (pixels == color).all(axis=1).any()
    segmentation.save(tmp_path / "scene.png")
    with Image.open(tmp_path / "scene.png") as written:
        assert written.size == segmentation.overlay().size
    with pytest.raises(PictureError, match="cannot be written"):
        segmentation.save(tmp_path / "missing" / "scene.png")


def test_the_colours_of_classes_are_far_apart():
    colors = categorical(np.arange(12)).astype(int)
    distances = np.abs(colors[:, None] - colors[None]).sum(axis=2)
    assert distances[~np.eye(12, dtype=bool)].min() > 30
    assert categorical(np.array([[3, 0]])).tolist() == [[colors[3].tolist(), colors[0].tolist()]]


def test_an_embedding_is_one_vector_for_each_picture(client, picture):
    vectors = client.embed("scene", [picture((9, 0, 3)), picture((0, 5, 0))])
    assert vectors.tolist() == [[9, 0, 3], [0, 5, 0]]


def test_maps_are_no_embedding(client, picture):
    with pytest.raises(ClientError, match=r"\(batch, width\), found \(1, 3, 4, 6\)"):
        client.embed("scene", picture("red"), output="segmentation")
