import numpy as np
import pytest

from eyespot.client import ClientError, Explanation, PictureError, color_maps
from eyespot.client.contact_sheet import draw_contact_sheet, draw_legend
from eyespot.v1.preprocessing import PreprocessingRule


def explanation(*, sign=1, pixels=None, **changes):
    attributions = np.zeros((4, 4), np.float32)
    attributions[0, 0] = sign
    fields = {
        "attributions": attributions,
        "target": 3,
        "label": "three",
        "score": 1.5,
        "reports": {},
        "model_name": "model",
        "model_version": "1",
        "method": "saliency",
        "channel_reduction": "max",
        "pixels": np.full((4, 4, 1), 50, np.uint8) if pixels is None else pixels,
    }
    return Explanation(**{**fields, **changes})


def test_the_picture_is_on_the_left_of_its_map():
    sheet = draw_contact_sheet([explanation()])
    grey = [
        (x, y)
        for x in range(sheet.width)
        for y in range(sheet.height)
        if sheet.getpixel((x, y)) == (50, 50, 50)
    ]
    left, top = min(grey)
    right, bottom = max(grey)
    # 4 pixels become 128: each a square of 32.
    assert (right - left, bottom - top) == (127, 127)
    darkest = sheet.getpixel((right + 16, top + 16))
    assert max(darkest) - min(darkest) > 60  # the one attribution has a colour ...
    red, green, blue = sheet.getpixel((right + 48, top + 16))
    assert red == green == blue  # ... its neighbour has none


@pytest.mark.parametrize(
    ("number", "columns", "width", "height"),
    [
        # Pairs of 256x128 under captions of 30; gaps of 28; margins of 32; head 76, legend 38.
        (7, 3, 3 * 256 + 2 * 28 + 64, 76 + 3 * 158 + 2 * 28 + 28 + 38 + 32),
        (2, 5, 2 * 256 + 28 + 64, 76 + 158 + 28 + 38 + 32),
    ],
)
def test_pairs_stand_in_rows(number, columns, width, height):
    sheet = draw_contact_sheet([explanation()] * number, columns=columns)
    assert sheet.size == (width, height)


def test_a_caption_does_not_run_into_the_next_pair():
    long, longer = ("w" * length for length in (60, 600))
    sheets = [draw_contact_sheet([explanation()], captions=[text]) for text in (long, longer)]
    assert sheets[0].tobytes() == sheets[1].tobytes()


def test_captions_and_title_are_written():
    plain = draw_contact_sheet([explanation()], captions=[""])
    titled = draw_contact_sheet([explanation()], captions=[""], title="Why")
    captioned = draw_contact_sheet([explanation()], captions=["three (99 %)"])
    by_itself = draw_contact_sheet([explanation()])
    assert len({image.tobytes() for image in (plain, titled, captioned, by_itself)}) == 4


@pytest.mark.parametrize("sign", [1, -1])
def test_only_signed_maps_have_a_legend_with_two_ends(sign):
    sheet = draw_contact_sheet([explanation(sign=sign)])
    legend = sheet.crop((0, sheet.height - 60, sheet.width, sheet.height))
    colors = {color for _, color in legend.getcolors(1 << 16)}
    ends = {tuple(color_maps.diverging(np.array(end)).tolist()) for end in (-1.0, 1.0)}
    assert (ends <= colors) == (sign < 0)


def test_colours_are_those_that_the_model_takes_them_for():
    rule = PreprocessingRule(None, None, "bilinear", "BGR", (0.0,) * 3, (1.0,) * 3)
    blue_first = np.zeros((4, 4, 3), np.uint8)
    blue_first[..., 0] = 200
    sheet = draw_contact_sheet([explanation(pixels=blue_first, preprocessing=rule)])
    assert (0, 0, 200) in [color for _, color in sheet.getcolors(1 << 16)]


@pytest.mark.parametrize(
    ("explanations", "captions", "columns"), [([], [], 5), ([1], ["a", "b"], 5), ([1], [], 0)]
)
def test_what_cannot_be_drawn_is_named(explanations, captions, columns):
    with pytest.raises(ClientError, match="a contact sheet has at least one"):
        draw_contact_sheet(
            [explanation() for _ in explanations], captions=captions, columns=columns
        )


def test_a_model_without_pixels_has_no_sheet():
    with pytest.raises(PictureError, match="does not take pixels"):
        draw_contact_sheet([explanation().__class__(**{**vars(explanation()), "pixels": None})])


def test_maps_of_magnitudes_beside_signed_ones_have_a_scale_each():
    plain, signed = explanation(), explanation(sign=-1)
    one, other, both = (draw_legend(each) for each in ([plain, plain], [signed], [signed, plain]))
    assert one.height == other.height == both.height - 20
    np.testing.assert_array_equal(np.asarray(both)[:20, : one.width], np.asarray(one)[:20])
    np.testing.assert_array_equal(np.asarray(both)[20:40, : other.width], np.asarray(other)[:20])
