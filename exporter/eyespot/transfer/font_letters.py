"""The letters of the fonts that matplotlib ships, as small and as coarse as scikit-learn's digits.

52 letters in 20 fonts: DejaVu, STIX and Computer Modern, in their styles.
"""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eyespot.transfer.digits import SIZE
from eyespot.transfer.examples import Examples

LETTERS = string.ascii_letters
_FONTS = ("DejaVuSans*", "DejaVuSerif*", "STIXGeneral*", "cm[brst][b1st]*0.ttf")
_LEFT_OUT = ("Display", "cmsy10")  # have few letters, or none
_CANVAS, _LONGER_SIDE, _POINTS = 64, 52, 48
_COARSE = 8  # pixels, as the digits have


def load_letters() -> Examples:
    """Draw every letter in every font: pictures (N, 32, 32, 1), white ink on black.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    fonts = _fonts()
    images = [_draw(letter, font) for letter in LETTERS for font in fonts]
    labels = np.repeat(np.arange(len(LETTERS), dtype=np.int64), len(fonts))
    return Examples(np.stack(images)[..., None], labels)  # -> (N, 32, 32, 1)


def _fonts() -> list[Path]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    found = {path for pattern in _FONTS for path in folder.glob(pattern)}
    return sorted(path for path in found if not any(part in path.name for part in _LEFT_OUT))


def _draw(letter: str, font: Path) -> NDArray[np.uint8]:
    """Draw a letter that fills the picture, make it coarse, and enlarge it again."""
    face = ImageFont.truetype(str(font), _POINTS)
    left, top, *_ = face.getbbox(letter)
    page = Image.new("L", (2 * _CANVAS, 2 * _CANVAS))
    ImageDraw.Draw(page).text((_CANVAS - left, _CANVAS - top), letter, fill=255, font=face)
    ink = page.crop(page.getbbox())
    scale = _LONGER_SIDE / max(ink.size)
    ink = ink.resize((max(1, round(ink.width * scale)), max(1, round(ink.height * scale))))
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    canvas.paste(ink, ((_CANVAS - ink.width) // 2, (_CANVAS - ink.height) // 2))
    coarse = np.asarray(canvas.resize((_COARSE, _COARSE), Image.Resampling.BOX), np.float64)
    picture = Image.fromarray(np.rint(coarse * 255 / coarse.max()).astype(np.uint8))
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
