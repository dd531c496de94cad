"""Pictures that are more than they seem: refused by their headers."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from eyespot.client import PictureError
from eyespot.client.pictures import load_picture
from eyespot.exporter.pictures import read_pictures
from eyespot.v1.picture_files import FORMATS, MOST_PIXELS, PictureBombError, open_picture
from eyespot.v1.preprocessing import PreprocessingRule


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(path, width, height):
    """A PNG whose header announces a size, and which is some bytes long."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = _chunk(b"IDAT", zlib.compress(bytes(1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + _chunk(b"IEND", b""))


@pytest.mark.parametrize(
    ("width", "height"),
    [(8193, 8192), (11_000, 9_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1)],
)
def test_a_header_that_announces_too_many_pixels_is_the_end_of_it(tmp_path, width, height):
    assert width * height > MOST_PIXELS
    _png(tmp_path / "bomb.png", width, height)
    with pytest.raises(PictureBombError), open_picture(tmp_path / "bomb.png"):
        pass
    with pytest.raises(PictureError, match=r"bomb\.png cannot be read"):
        load_picture(tmp_path / "bomb.png")


@pytest.mark.parametrize("form", FORMATS)
def test_every_named_format_is_read(tmp_path, form):
    pixels = np.full((3, 2, 3), 200, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture", form)
    with open_picture(tmp_path / "picture") as image:
        assert np.asarray(image.convert("RGB")).shape == (3, 2, 3)


@pytest.mark.parametrize("form", ["EPS", "ICO", "PCX", "TGA", "SGI", "PDF"])
def test_no_other_format_is_read_whatever_the_file_is_called(tmp_path, form):
    Image.fromarray(np.zeros((3, 2, 3), np.uint8)).save(tmp_path / "picture.png", form)
    with pytest.raises(PictureError, match="a format that is read"):
        load_picture(tmp_path / "picture.png")


def test_a_bomb_among_the_pictures_of_parity_is_left_out(tmp_path):
    _png(tmp_path / "bomb.png", 20_000, 20_000)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "sound.png")
    rule = PreprocessingRule(
        resize_size=(4, 4),
        crop_size=None,
        interpolation="nearest",
        color_order="RGB",
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )
    pictures = read_pictures(tmp_path, rule, shape=(4, 4), batch_size=2)
    assert len(pictures.batches[0].inputs[0]) == 1
    assert pictures.skipped[0].startswith("bomb.png: ")
