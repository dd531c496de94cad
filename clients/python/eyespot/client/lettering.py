"""Text in pictures: in a font that has its letters, no wider than the room that there is.

Pillow's own font, which is everywhere, has hardly more than ASCII. Other letters are written in
a font of the system; where it has none that has them, by the nearest letters of ASCII.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TypeAlias

from PIL import ImageFont

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

# With Latin, Greek and Cyrillic letters; Pillow looks for them where the system keeps its fonts.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "FreeSans.ttf",
    "Arial.ttf",
    "arial.ttf",
)
_NO_LETTER = "\U0010ffff"  # drawn as what stands for a letter that the font lacks
_LATIN = re.compile(r"LATIN (SMALL|CAPITAL) LETTER (?:SHARP )?(\w+)(?: WITH .*)?")


def font_for(text: str, size: int) -> Font:
    """The font that a text is written in: Pillow's own where that has its letters."""
    own = ImageFont.load_default(size)
    composed = _composed(text)
    if _has(own, composed):
        return own
    fonts = [font for name in _SYSTEM_FONTS if (font := _system_font(name, size)) is not None]
    return next((font for font in fonts if _has(font, composed)), fonts[0] if fonts else own)


def fit_text(text: str, font: Font, width: int) -> str:
    """Shorten a text to a width in pixels, in letters that the font has."""
    letters = _composed(" ".join(text.split()))
    text = "".join(letter if _has(font, letter) else _plain(letter) for letter in letters)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _composed(text: str) -> str:
    """A letter and its accent as one character: some systems write file names in two."""
    return unicodedata.normalize("NFC", text)


@lru_cache(maxsize=32)
def _system_font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except (ImportError, OSError):  # Pillow without FreeType, or no such font
        return None


def _has(font: Font, text: str) -> bool:
    others = [letter for letter in text if not letter.isascii()]
    if not others or isinstance(font, ImageFont.ImageFont):
        return not others
    missing = _drawn(font, _NO_LETTER)
    return all(_drawn(font, letter) != missing for letter in others)


def _drawn(font: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


def _plain(letter: str) -> str:
    """The nearest letters of ASCII, by the name that Unicode has for one."""
    latin = _LATIN.fullmatch(unicodedata.name(letter, ""))
    if latin is not None:
        case, name = latin.groups()
        return name if case == "CAPITAL" else name.lower()
    parts = unicodedata.normalize("NFKD", letter)
    return "".join(part for part in parts if part.isascii()) or "?"
