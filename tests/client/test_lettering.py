"""Letters beyond ASCII are written, or replaced: no picture shows boxes for them."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import ImageFont
from tests.client.test_contact_sheet import explanation

from eyespot.client import Segmentation, lettering
from eyespot.client.contact_sheet import draw_contact_sheet
from eyespot.client.lettering import fit_text, font_for
from eyespot.client.method_sheet import draw_method_sheet

DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@pytest.fixture
def without_fonts(monkeypatch):
    monkeypatch.setattr(lettering, "_SYSTEM_FONTS", ("no-such-font.ttf",))


@pytest.fixture
def with_dejavu(monkeypatch):
    monkeypatch.setattr(lettering, "_SYSTEM_FONTS", ("no-such-font.ttf", str(DEJAVU)))


def written(text):
    return fit_text(text, font_for(text, 13), 10_000)


@pytest.mark.parametrize("text", ["Kätzchen", "Łódź", "Кошка", "Γάτα", "cat"])
def test_a_font_of_the_system_writes_what_it_has(with_dejavu, text):
    assert written(text) == text
    assert font_for(text, 13).getname() == (
        ImageFont.load_default(13).getname() if text == "cat" else ("DejaVu Sans", "Book")
    )


def test_an_accent_in_a_character_of_its_own_is_written_with_its_letter(with_dejavu):
    assert written("Ka\u0308tzchen") == "K\u00e4tzchen"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Kätzchen", "Katzchen"),
        ("Ka\u0308tzchen", "Katzchen"),
        ("Łódź", "Lodz"),
        ("Straße Ærø", "Strase AEro"),
        ("\uff43\uff41\uff54", "cat"),
        ("Кот", "???"),
    ],
)
def test_without_one_the_nearest_letters_stand_for_them(without_fonts, text, expected):
    assert written(text) == expected


def test_a_letter_that_no_font_has_is_replaced(with_dejavu):
    assert written("ä猫") == "ä?"


def draw_explanation(label):
    return explanation(label=label).overlay()


def draw_segmentation(label):
    logits = np.zeros((4, 4), np.int64)
    return Segmentation(
        classes=logits, labels=(label,), model_name="m", model_version="1",
        pixels=np.zeros((4, 4, 1), np.uint8),
    ).overlay()  # fmt: skip


def draw_contacts(label):
    return draw_contact_sheet([explanation(label=label)], title=label)


def draw_methods(label):
    captions = {"row_captions": [label], "column_captions": [label]}
    return draw_method_sheet([[explanation()]], **captions, title=label, subtitle=label)


@pytest.mark.parametrize("draw", [draw_explanation, draw_segmentation, draw_contacts, draw_methods])
def test_no_picture_shows_boxes(without_fonts, draw):
    assert np.array_equal(draw("Kätzchen"), draw("Katzchen"))
