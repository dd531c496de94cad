"""Picture files of every format that is read, with other headers than they should have."""

import io
import random
import warnings
from functools import cache

from PIL import Image
from tests.fuzz.fault import FaultError, Parts
from tests.fuzz.mutation import mutate_bytes
from tests.fuzz.served import Served

from eyespot.client import PictureError
from eyespot.client.pictures import load_picture
from eyespot.v1.picture_files import FORMATS
from eyespot.v1.preprocessing import PreprocessingError, PreprocessingRule

_HEADER_BYTES = 96
_RULE = PreprocessingRule(8, (6, 6), "bilinear", "RGB", (0.5,) * 3, (0.5,) * 3)


def make_picture(draw: random.Random) -> Parts:
    """A file of a picture."""
    raw = _picture(draw.choice(FORMATS))
    header, rest = raw[:_HEADER_BYTES], raw[_HEADER_BYTES:]
    if draw.random() < 0.2:
        rest = mutate_bytes(rest, draw)
    return {"picture": mutate_bytes(header, draw) + rest}


async def run_picture(served: Served, parts: Parts) -> str:
    """Reads it as a client does; says what came of it.

    Raises:
        FaultError: It is neither read nor refused.
    """
    path = served.folder / "picture"
    path.write_bytes(parts["picture"])
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow's, on what it mends by itself
            _RULE.apply(load_picture(path))
        return "OK"
    except (PictureError, PreprocessingError):
        return "REFUSED"
    except Exception as error:
        raise FaultError(f"{type(error).__name__} of a picture", cause=error) from error


@cache
def _picture(picture_format: str) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((9, 7)).convert("RGB").save(file, picture_format)
    return file.getvalue()
