"""Several methods on one sheet: a row for each picture, a column for each way to explain it."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from eyespot.client.contact_sheet import draw_legend, write_head
from eyespot.client.errors import ClientError
from eyespot.client.explanation import Explanation
from eyespot.client.lettering import fit_text, font_for

_TILE = 128  # the least width of a picture and of its map
_GAP, _MARGIN = 8, 32
_CAPTION_SIZE, _TEXT_SIZE = 17, 13
_HEAD, _COLUMN_HEAD = 76, 26
_LONGEST_ROW_CAPTION = 200
_INK, _PAPER, _FRAME = (25, 25, 25), (255, 255, 255), (205, 205, 205)


def draw_method_sheet(
    rows: Sequence[Sequence[Explanation]],
    *,
    row_captions: Sequence[str],
    column_captions: Sequence[str],
    title: str = "",
    subtitle: str = "",
) -> Image.Image:
    """Draw pictures below each other, each with what several methods say of it beside it.

    Args:
        rows: For each picture its explanations, in the order of the columns.
        row_captions: One for each picture.
        column_captions: One for each method.
        title: Over the sheet.
        subtitle: Below the title.

    Raises:
        ClientError: There is nothing to draw, or captions and explanations do not match.
        PictureError: An explanation has no picture.
    """
    counts = {len(row) for row in rows}
    if counts != {len(column_captions)} or 0 in counts or len(row_captions) != len(rows):
        raise ClientError(
            "a sheet has at least one picture and one method, a caption for each of both, and an "
            f"explanation by each method; found {len(rows)} pictures with {len(row_captions)} "
            f"captions, {sorted(counts)} explanations of one with {len(column_captions)} captions"
        )
    tiles = [[_picture(row[0]), *map(_overlay, row)] for row in rows]
    body = _draw_body(tiles, row_captions, ["the picture", *column_captions])
    legend = draw_legend([each for row in rows for each in row])
    width = max(body.width, legend.width) + 2 * _MARGIN
    height = _HEAD + body.height + 2 * _GAP + legend.height + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    write_head(ImageDraw.Draw(sheet), title, subtitle, width=width - 2 * _MARGIN)
    sheet.paste(body, (_MARGIN, _HEAD))
    sheet.paste(legend, (_MARGIN, height - _MARGIN - legend.height))
    return sheet


def _draw_body(
    tiles: Sequence[Sequence[Image.Image]],
    row_captions: Sequence[str],
    column_captions: Sequence[str],
) -> Image.Image:
    """Put tiles in rows and columns, captions on the left and above."""
    step_x, step_y = (
        max(tile.size[axis] for row in tiles for tile in row) + _GAP for axis in (0, 1)
    )
    font = font_for("".join(row_captions), _CAPTION_SIZE)
    small = font_for("".join(column_captions), _TEXT_SIZE)
    captions = [fit_text(caption, font, _LONGEST_ROW_CAPTION) for caption in row_captions]
    left = round(max(map(font.getlength, captions))) + 2 * _GAP
    size = (left + len(column_captions) * step_x, _COLUMN_HEAD + len(tiles) * step_y)
    body = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(body)
    for column, caption in enumerate(column_captions):
        middle = left + column * step_x + (step_x - _GAP) / 2
        pen.text((middle, 0), fit_text(caption, small, step_x), _INK, small, anchor="ma")
    for row, (own, caption) in enumerate(zip(tiles, captions, strict=True)):
        top = _COLUMN_HEAD + row * step_y
        pen.text((left - 2 * _GAP, top + (step_y - _GAP) / 2), caption, _INK, font, anchor="rm")
        for column, tile in enumerate(own):
            x = left + column * step_x
            body.paste(tile, (x, top))
            pen.rectangle((x - 1, top - 1, x + tile.width, top + tile.height), outline=_FRAME)
    return body


def _overlay(explanation: Explanation) -> Image.Image:
    return explanation.overlay(legend=False, size=_TILE)


def _picture(explanation: Explanation) -> Image.Image:
    """Give the picture that the model saw, as large as its maps."""
    return explanation.picture().resize(_overlay(explanation).size, Image.Resampling.NEAREST)
