"""Many explanations on one sheet: each picture beside what decided in it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eyespot.client import color_maps
from eyespot.client.errors import ClientError
from eyespot.client.explanation import Explanation
from eyespot.client.lettering import fit_text, font_for

_TILE = 128  # the least width of a picture and of its map
_GAP, _MARGIN = 28, 32
_TITLE_SIZE, _CAPTION_SIZE, _TEXT_SIZE = 22, 17, 13
_HEAD, _CAPTION, _LEGEND_HEIGHT = 76, 30, 38
_BAR_WIDTH, _BAR_HEIGHT, _SCALE_HEIGHT = 220, 12, 20
_INK, _FAINT_INK, _PAPER, _FRAME = (25, 25, 25), (110, 110, 110), (255, 255, 255), (205, 205, 205)


def draw_contact_sheet(
    explanations: Sequence[Explanation],
    *,
    captions: Sequence[str] = (),
    title: str = "",
    columns: int = 5,
) -> Image.Image:
    """Draw pictures, each with its attributions beside it, in rows on one sheet.

    Args:
        explanations: Of models that take pixels.
        captions: One for each; the label and the score when there are none.
        title: Over the sheet.
        columns: Pairs in a row.

    Raises:
        ClientError: There is nothing to draw, or the captions do not match.
        PictureError: An explanation has no picture.
    """
    if not explanations or len(captions) not in (0, len(explanations)) or columns < 1:
        raise ClientError(
            "a contact sheet has at least one explanation, one column, and a caption for each "
            f"or none; found {len(explanations)}, {columns} and {len(captions)}"
        )
    captions = captions or [_caption(explanation) for explanation in explanations]
    pairs = [_pair(explanation) for explanation in explanations]
    width, height = (max(pair.size[axis] for pair in pairs) for axis in (0, 1))
    columns = min(columns, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    step_x, step_y = width + _GAP, height + _CAPTION + _GAP
    legend = draw_legend(explanations)
    inner_width = max(columns * step_x - _GAP, legend.width)
    body_height = rows * step_y - _GAP
    sheet = Image.new(
        "RGB",
        (inner_width + 2 * _MARGIN, _HEAD + body_height + _GAP + legend.height + _MARGIN),
        _PAPER,
    )
    pen = ImageDraw.Draw(sheet)
    write_head(pen, title, _subtitle(explanations[0]), width=inner_width)
    for number, (pair, caption) in enumerate(zip(pairs, captions, strict=True)):
        row, column = divmod(number, columns)
        left, top = _MARGIN + column * step_x, _HEAD + row * step_y
        font = font_for(caption, _CAPTION_SIZE)
        pen.text((left, top), fit_text(caption, font, width), _INK, font)
        sheet.paste(pair, (left, top + _CAPTION))
        frame = (left - 1, top + _CAPTION - 1, left + pair.width, top + _CAPTION + pair.height)
        pen.rectangle(frame, outline=_FRAME)
    sheet.paste(legend, (_MARGIN, sheet.height - _MARGIN - legend.height))
    return sheet


def _caption(explanation: Explanation) -> str:
    return f"{explanation.title}  {explanation.score_name} {explanation.score:.4g}"


def _pair(explanation: Explanation) -> Image.Image:
    """Put the picture that the model saw, and the map over a pale copy of it, side by side."""
    picture = explanation.picture()
    overlay = explanation.overlay(legend=False, size=_TILE)
    pair = Image.new("RGB", (2 * overlay.width, overlay.height))
    pair.paste(picture.resize(overlay.size, Image.Resampling.NEAREST), (0, 0))
    pair.paste(overlay, (overlay.width, 0))
    return pair


def _subtitle(first: Explanation) -> str:
    return f"{first.method_title} of {first.network_title}, of the {first.score_name}"


def write_head(pen: ImageDraw.ImageDraw, title: str, subtitle: str, *, width: int) -> None:
    """Write the title of a sheet and what is below it."""
    font, small = font_for(title, _TITLE_SIZE), font_for(subtitle, _TEXT_SIZE)
    pen.text((_MARGIN, 14), fit_text(title, font, width), _INK, font)
    pen.text((_MARGIN, 44), fit_text(subtitle, small, width), _FAINT_INK, small)


def draw_legend(explanations: Sequence[Explanation]) -> Image.Image:
    """Draw the scales that the maps of a sheet have, and what their ends mean."""
    kinds = sorted({explanation.is_signed for explanation in explanations})
    scales = [_scale(is_signed=is_signed) for is_signed in kinds]
    width = max(scale.width for scale in scales)
    height = _LEGEND_HEIGHT + (len(scales) - 1) * _SCALE_HEIGHT
    legend = Image.new("RGB", (width, height), _PAPER)
    for number, scale in enumerate(scales):
        legend.paste(scale, (0, number * _SCALE_HEIGHT))
    note = "Each map has its own scale, up to its 99th percentile."
    font = ImageFont.load_default(_TEXT_SIZE)
    ImageDraw.Draw(legend).text((0, height), note, _FAINT_INK, font, anchor="ld")
    return legend


def _scale(*, is_signed: bool) -> Image.Image:
    values = np.linspace(-1.0 if is_signed else 0.0, 1.0, _BAR_WIDTH)
    colors = color_maps.diverging(values) if is_signed else color_maps.sequential(values)
    bar = Image.fromarray(np.repeat(colors[None], _BAR_HEIGHT, axis=0))
    font = ImageFont.load_default(_TEXT_SIZE)
    least = "speaks against the class" if is_signed else "does not matter"
    most = "speaks for it" if is_signed else "decides"
    left = round(font.getlength(least)) + 10
    right = left + _BAR_WIDTH + 10
    scale = Image.new("RGB", (right + round(font.getlength(most)), _SCALE_HEIGHT), _PAPER)
    pen = ImageDraw.Draw(scale)
    middle = _BAR_HEIGHT // 2 + 2
    pen.text((0, middle), least, _INK, font, anchor="lm")
    scale.paste(bar, (left, middle - _BAR_HEIGHT // 2))
    pen.text((right, middle), most, _INK, font, anchor="lm")
    return scale
