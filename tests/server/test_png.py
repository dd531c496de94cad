import io

import numpy as np
from PIL import Image

from eyespot.server.png import encode_png


def test_black_is_the_least_and_white_the_most():
    values = np.array([[-1.0, 0.0, 1.0], [0.5, 1.0, -1.0]], np.float32)
    file, minimum, maximum = encode_png(values)
    image = Image.open(io.BytesIO(file))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (3, 2))
    np.testing.assert_array_equal(np.asarray(image), [[0, 128, 255], [191, 255, 0]])
    assert (minimum, maximum) == (-1, 1)


def test_a_map_that_is_the_same_everywhere_is_black():
    file, minimum, maximum = encode_png(np.full((4, 5), 2.5, np.float32))
    assert not np.asarray(Image.open(io.BytesIO(file))).any()
    assert minimum == maximum == 2.5
