import numpy as np
import pytest
from tests.client.test_contact_sheet import explanation

from eyespot.client import ClientError
from eyespot.client.method_sheet import draw_method_sheet


def test_each_picture_is_a_row_with_a_map_of_each_method():
    rows = [[explanation(), explanation(sign=0.5)], [explanation(), explanation()]]
    sheet = draw_method_sheet(rows, row_captions=["a", "b"], column_captions=["one", "two"])
    ys, xs = np.nonzero((np.asarray(sheet) == 50).all(2))
    # Letters have such pixels too, but not in a whole row or column.
    xs, ys = (
        [place for place, count in zip(*np.unique(each, return_counts=True), strict=True)
         if count >= 128]
        for each in (xs, ys)
    )  # fmt: skip
    left, top, right, bottom = xs[0], ys[0], xs[-1], ys[-1]
    # A column of two pictures of 128 pixels with a gap of 8; the head and the heads of columns.
    assert (right - left, bottom - top) == (127, 2 * 128 + 8 - 1)
    assert top == 76 + 26
    for column in (1, 2):
        for row in (0, 1):
            x, y = left + column * 136, top + row * 136
            darkest = sheet.getpixel((x + 16, y + 16))
            assert max(darkest) - min(darkest) > 60  # the one attribution, at its own full scale
            red, green, blue = sheet.getpixel((x + 48, y + 16))
            assert red == green == blue


@pytest.mark.parametrize(
    ("rows", "row_captions", "column_captions"),
    [
        ([], [], ["one"]),
        ([[]], ["a"], []),
        ([[explanation()]], ["a", "b"], ["one"]),
        ([[explanation()]], ["a"], ["one", "two"]),
        ([[explanation()], [explanation()] * 2], ["a", "b"], ["one"]),
    ],
)
def test_what_does_not_match_is_told(rows, row_captions, column_captions):
    with pytest.raises(ClientError, match="a caption for each of both"):
        draw_method_sheet(rows, row_captions=row_captions, column_captions=column_captions)
