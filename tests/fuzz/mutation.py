"""Bytes, texts and JSON that were valid, made invalid in the ways that parsers stumble over.

Everything is drawn from the `random.Random` that is handed in: the same one gives the same input.
"""

import json
import random
import struct
from collections.abc import Callable
from typing import Any

NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 65535, 65536),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63)),
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e38, 1e308, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    *("", " ", "0", "1", "-1", "a", ".", "..", "/", "../x", "/etc/passwd", "a\0b", "\n", "\x1b[2J"),
    *("\u202e", "é", "\U0001f600", "a" * 300, "%s%n", "nan", "1e400", "9" * 30, "a" * 70_000),
)
_TOKENS = ("{", "}", "[", "]", ":", ",", '"', "#", "\\", "{" * 300, "[" * 300, "null", "-", "0x")


def mutate_bytes(raw: bytes, draw: random.Random) -> bytes:
    """Changes bytes in one to four places."""
    for _ in range(draw.randint(1, 4)):
        raw = draw.choice(_BYTE_CHANGES)(raw, draw)
    return raw


def mutate_text(text: str, draw: random.Random) -> str:
    """Changes a text between its words, so that much of it still parses."""
    words = text.split(" ")
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(words))
        match draw.randrange(5):
            case 0:
                words[at] = draw.choice(_TOKENS)
            case 1:
                words[at] = str(draw.choice((*NUMBERS, *FLOATS)))
            case 2:
                words.insert(at, draw.choice(words))
            case 3:
                words[at] = json.dumps(draw.choice(TEXTS))
            case _ if len(words) > 1:
                del words[at]
    return " ".join(words)


def mutate_json(value: Any, draw: random.Random) -> Any:
    """Changes a value somewhere in a tree of dictionaries and lists."""
    children: list[Any] = list(value if isinstance(value, dict) else ())
    if isinstance(value, list):
        children = list(range(len(value)))
    if not children or draw.random() < 0.15:
        return _other_value(value, draw)
    changed, at = value.copy(), draw.choice(children)
    match draw.randrange(8):
        case 0:
            del changed[at]
        case 1 if isinstance(changed, dict):
            changed[draw.choice(TEXTS)] = changed[at]
        case 2 if isinstance(changed, list):
            changed.insert(at, changed[at])
        case _:
            changed[at] = mutate_json(changed[at], draw)
    return changed


def _other_value(value: Any, draw: random.Random) -> Any:
    nested: list[Any] = [value]
    for _ in range(draw.choice((1, 3, 200))):
        nested = [nested]
    others: tuple[Any, ...] = (
        None,
        True,
        {},
        [],
        draw.choice(NUMBERS),
        draw.choice(FLOATS),
        draw.choice(TEXTS),
    )
    return draw.choice((*others, nested, {"a": value}, str(value)))


def _flip(raw: bytes, draw: random.Random) -> bytes:
    if not raw:
        return raw
    at = draw.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ 1 << draw.randrange(8)]) + raw[at + 1 :]


def _cut(raw: bytes, draw: random.Random) -> bytes:
    begin, end = _two_places(raw, draw)
    return raw[:begin] + raw[end:]


def _truncate(raw: bytes, draw: random.Random) -> bytes:
    return raw[: draw.randint(0, len(raw))]


def _double(raw: bytes, draw: random.Random) -> bytes:
    begin, end = _two_places(raw, draw)
    return raw[:end] + raw[begin:end] + raw[end:]


def _insert(raw: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(raw))
    return raw[:at] + draw.randbytes(draw.randint(1, 8)) + raw[at:]


def _number(raw: bytes, draw: random.Random) -> bytes:
    """A number as formats write lengths: of 1, 2, 4 or 8 bytes, or protobuf's varint."""
    at, number = draw.randint(0, len(raw)), draw.choice(NUMBERS) % 2**64
    form = draw.choice(("B", "<H", "<I", "<Q", ">H", ">I", "varint"))
    written = (
        _varint(number)
        if form == "varint"
        else struct.pack(form, number % 2 ** (8 * struct.calcsize(form)))
    )
    return raw[:at] + written + raw[at + len(written) :]


def _varint(number: int) -> bytes:
    groups = []
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _two_places(raw: bytes, draw: random.Random) -> tuple[int, int]:
    begin = draw.randint(0, len(raw))
    return begin, min(len(raw), begin + draw.randint(1, 64))


_BYTE_CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_flip, _cut, _truncate, _double, _insert, _number),
)
