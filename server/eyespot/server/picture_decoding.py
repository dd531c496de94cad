"""Encoded pictures into pixels, by the model's own rule, in threads beside the event loop.

Whatever is in the bytes of a stranger, it is his request that fails: only the parsers of
`ENCODED_FORMATS` see them, the header is looked at before any pixel takes memory, and the
error names the row.
"""

import asyncio
import io
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eyespot.server.errors import InvalidArgumentError, QueueFullError
from eyespot.server.workers import Workers
from eyespot.v1.picture_files import ENCODED_FORMATS, encoded_format, open_picture
from eyespot.v1.preprocessing import PreprocessingRule

Pixels = NDArray[np.uint8]


class PictureDecoder:
    """Decodes the pictures of all models; use it from one event loop.

    Args:
        most_requests: that may be decoded or wait for it; further ones are refused.
        most_bytes: of the pixels of one request, as of one that brings them itself.
    """

    def __init__(self, *, most_requests: int, most_bytes: int) -> None:
        self._most_requests = most_requests
        self._most_bytes = most_bytes
        self._requests = 0
        self._thread_count = max(1, len(os.sched_getaffinity(0)))
        self._workers = Workers(self._thread_count, name="pictures")

    async def decode(
        self, pictures: Sequence[bytes], rule: PreprocessingRule, *, what: str
    ) -> Pixels:
        """Turns the pictures of one request into pixels (B, H, W, C).

        Args:
            pictures: one file each.
            rule: of the model.
            what: the pictures are, for messages.

        Raises:
            InvalidArgumentError: one of them cannot be read; names its row.
            QueueFullError: too many requests are being decoded.
        """
        if self._requests >= self._most_requests:
            raise QueueFullError(f"{self._requests} requests wait for their pictures, no more may")
        self._requests += 1
        try:
            return await self._decode(pictures, rule, what)
        finally:
            self._requests -= 1

    def close(self) -> None:
        """Lets go of the threads; what they are in the middle of is not waited for."""
        self._workers.close()

    async def _decode(
        self, pictures: Sequence[bytes], rule: PreprocessingRule, what: str
    ) -> Pixels:
        most_bytes = self._most_bytes // len(pictures)
        size = -(-len(pictures) // self._thread_count)
        shares = [
            self._workers.run(
                _decode_rows, pictures[start : start + size], start, rule, most_bytes, what
            )
            for start in range(0, len(pictures), size)
        ]
        if len(shares) == 1:
            rows = await shares[0]
        else:
            # All are waited for, so that of several bad rows the first is named.
            found = await asyncio.gather(*shares, return_exceptions=True)
            rows = [row for each in found for row in _raised(each)]
        shapes = sorted({row.shape for row in rows})
        if len(shapes) > 1:
            raise InvalidArgumentError(
                f"{what} have the sizes {', '.join(map(_size, shapes))} by the model's rule, and "
                "rows of one request must have one: send them one by one"
            )
        return rows[0][np.newaxis] if len(rows) == 1 else np.stack(rows)  # -> (B, H, W, C)


def _raised(found: list[Pixels] | BaseException) -> list[Pixels]:
    if isinstance(found, BaseException):
        raise found
    return found


def _decode_rows(
    pictures: Sequence[bytes], first: int, rule: PreprocessingRule, most_bytes: int, what: str
) -> list[Pixels]:
    """Decodes consecutive rows, up to the first that cannot be."""
    rows = []
    for row, picture in enumerate(pictures, first):
        try:
            pixels = decode_picture(picture, rule)
        except MemoryError:
            raise
        except Exception as error:  # the parsers of Pillow raise whatever they stumble over
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InvalidArgumentError(f"row {row} of {what} cannot be read: {reason}") from error
        if pixels.nbytes > most_bytes:
            raise InvalidArgumentError(
                f"row {row} of {what} has {pixels.nbytes >> 20} MiB of pixels, and of the bound "
                f"of one request {most_bytes >> 20} MiB are its share"
            )
        rows.append(pixels)
    return rows


def decode_picture(picture: bytes, rule: PreprocessingRule) -> Pixels:
    """Turns one file into pixels (H, W, C); blocks.

    Raises:
        ValueError: it is of none of the formats, too large, or has no pixels.
        Exception: whatever the parser of its format raises.
    """
    if encoded_format(picture[:12]) is None:
        told = f"it begins with {bytes(picture[:4])!r}" if picture else "it is empty"
        raise ValueError(
            f"it is no {', '.join(ENCODED_FORMATS[:-1])} or {ENCODED_FORMATS[-1]}: {told}"
        )
    with open_picture(io.BytesIO(picture), ENCODED_FORMATS) as image:
        return rule.apply(image)  # (H, W, C)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
