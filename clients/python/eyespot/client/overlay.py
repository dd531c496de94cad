"""The picture of an attribution: the input, and a colour map over it, with a legend."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eyespot.client import color_maps
from eyespot.client.lettering import fit_text, font_for
from eyespot.client.normalisation import Normalisation

Floats = NDArray[np.float64]

# The input is drawn in pale grey, so that every colour comes from the attributions.
_PALEST, _DARKEST = 255, 160
_MARGIN, _GAP = 12, 8
_TITLE_FONT_SIZE, _TEXT_FONT_SIZE = 18, 13
_TITLE_HEIGHT, _SUBTITLE_HEIGHT = 24, 22
_BAR_HEIGHT = 14
_INK, _FAINT_INK, _PAPER = (25, 25, 25), (110, 110, 110), (255, 255, 255)


def draw(
    attributions: NDArray[np.float32],
    background: Image.Image,
    *,
    title: str,
    subtitle: str,
    is_signed: bool,
    is_legend_drawn: bool,
    size: int,
    normalisation: Normalisation,
) -> Image.Image:
    """Draw attributions (H, W) or (H, W, C) over a picture of the same height and width.

    With a legend the picture itself is beside them: under the colours one may not know it.
    """
    values = normalisation.map_of(attributions)
    limit = normalisation.limit_of(values)
    is_signed = normalisation.is_signed(by_itself=is_signed)
    height, width = values.shape
    factor = max(1, -(-size // min(height, width)))  # a whole number: pixels stay square
    drawn = _blend(values / limit, background, is_signed=is_signed)
    drawn = drawn.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    if not is_legend_drawn:
        return drawn
    picture = background.convert("RGB").resize(drawn.size, Image.Resampling.NEAREST)
    framed = _frame(picture, drawn, limit=limit if values.any() else 0.0, is_signed=is_signed)
    _write_titles(framed, title, subtitle)
    _write_note(framed, str(normalisation), picture)
    return framed


def _blend(values: Floats, background: Image.Image, *, is_signed: bool) -> Image.Image:
    """Colour the picture; the more an element counts, the less of the picture is left."""
    grey = np.asarray(background.convert("L"), np.float64)[..., None] / 255  # (H, W, 1)
    paper = _DARKEST + grey * (_PALEST - _DARKEST)
    opacity = np.clip(np.abs(values), 0, 1)[..., None] ** 0.6  # small ones show too
    mixed = _colors(values, is_signed=is_signed) * opacity + paper * (1 - opacity)
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _colors(values: Floats, *, is_signed: bool) -> NDArray[np.uint8]:
    return color_maps.diverging(values) if is_signed else color_maps.sequential(values)


def _frame(
    picture: Image.Image, drawn: Image.Image, *, limit: float, is_signed: bool
) -> Image.Image:
    """Put room for the titles above picture and map, and the scale below the map."""
    left = _MARGIN + picture.width + _GAP  # of the map
    right = left + drawn.width
    top = _MARGIN + _TITLE_HEIGHT + _SUBTITLE_HEIGHT
    bar_top = top + drawn.height + _MARGIN
    framed = Image.new("RGB", (right + _MARGIN, bar_top + _BAR_HEIGHT + 2 * _MARGIN + 8), _PAPER)
    framed.paste(picture, (_MARGIN, top))
    framed.paste(drawn, (left, top))
    pen = ImageDraw.Draw(framed)
    font = ImageFont.load_default(_TEXT_FONT_SIZE)
    if not limit:
        pen.text((left, bar_top), "all zero", _INK, font)
        return framed
    framed.paste(_bar(drawn.width, is_signed=is_signed), (left, bar_top))
    under = bar_top + _BAR_HEIGHT + 4
    pen.text((left, under), _number(-limit if is_signed else 0.0), _INK, font)
    pen.text((right, under), _number(limit), _INK, font, anchor="ra")
    if is_signed:
        pen.text(((left + right) / 2, under), "0", _INK, font, anchor="ma")
    return framed


def _write_titles(framed: Image.Image, title: str, subtitle: str) -> None:
    pen = ImageDraw.Draw(framed)
    font, small = font_for(title, _TITLE_FONT_SIZE), font_for(subtitle, _TEXT_FONT_SIZE)
    width = framed.width - 2 * _MARGIN
    pen.text((_MARGIN, _MARGIN), fit_text(title, font, width), _INK, font)
    position = (_MARGIN, _MARGIN + _TITLE_HEIGHT)
    pen.text(position, fit_text(subtitle, small, width), _FAINT_INK, small)


def _write_note(framed: Image.Image, note: str, picture: Image.Image) -> None:
    """Say under the picture, beside the scale, what was done to the numbers."""
    font = ImageFont.load_default(_TEXT_FONT_SIZE)
    top = _MARGIN + _TITLE_HEIGHT + _SUBTITLE_HEIGHT + picture.height + _MARGIN
    said = fit_text(note, font, picture.width)
    ImageDraw.Draw(framed).text((_MARGIN, top), said, _FAINT_INK, font)


def _bar(width: int, *, is_signed: bool) -> Image.Image:
    values = np.linspace(-1.0 if is_signed else 0.0, 1.0, width)
    colors = _colors(values, is_signed=is_signed)
    return Image.fromarray(np.repeat(colors[None], _BAR_HEIGHT, axis=0))


def _number(value: float) -> str:
    return f"{value + 0.0:.3g}"  # + 0.0: never "-0"
