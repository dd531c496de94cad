"""Maps as grey PNGs of 8 bits: small enough for any wire, and no library is needed to write one."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_8_BITS = (8, 0, 0, 0, 0)  # bit depth, colour type, compression, filter, interlace


def encode_png(values: NDArray[np.float32]) -> tuple[bytes, float, float]:
    """Encode a map (H, W); gives the file, what black means and what white means.

    A map that is the same everywhere is black.
    """
    minimum, maximum = float(values.min()), float(values.max())
    scale = 255 / (maximum - minimum) if maximum > minimum else 0.0
    levels = np.rint((values.astype(np.float64) - minimum) * scale).astype(np.uint8)
    height, width = levels.shape
    # Each line begins with the number of its filter: 0, none.
    lines = np.concatenate([np.zeros((height, 1), np.uint8), levels], axis=1)
    header = struct.pack(">2I5B", width, height, *_GREY_8_BITS)
    chunks = (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(lines.tobytes())),
        (b"IEND", b""),
    )
    file = _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)
    return file, minimum, maximum


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
