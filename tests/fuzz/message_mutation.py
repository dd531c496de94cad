"""Protobuf messages changed as messages: fields, lists, maps and choices, by their descriptors."""

import random
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from tests.fuzz.mutation import FLOATS, NUMBERS, TEXTS, mutate_bytes

_BITS = {
    **dict.fromkeys(("TYPE_INT32", "TYPE_SINT32", "TYPE_SFIXED32", "TYPE_ENUM"), (32, True)),
    **dict.fromkeys(("TYPE_INT64", "TYPE_SINT64", "TYPE_SFIXED64"), (64, True)),
    **dict.fromkeys(("TYPE_UINT32", "TYPE_FIXED32"), (32, False)),
    **dict.fromkeys(("TYPE_UINT64", "TYPE_FIXED64"), (64, False)),
}
_KINDS = {
    getattr(FieldDescriptor, name): name for name in dir(FieldDescriptor) if name[:5] == "TYPE_"
}


def mutate_message(message: Message, draw: random.Random, *, words: Sequence[str]) -> None:
    """Changes a message in place, in one to three places.

    Args:
        message: What is changed.
        draw: The chances.
        words: Texts that mean something where they are read, such as names of parameters.
    """
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        _mutate_once(_somewhere_in(message, draw), draw, words)


def _somewhere_in(message: Message, draw: random.Random) -> Message:
    """The message itself, or one of those in it."""
    inner: list[Message] = []
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if _is_map(field):
            if field.message_type.fields_by_name["value"].message_type is not None:
                inner.extend(value.values())
        else:
            inner.extend(value if field.is_repeated else [value])
    if not inner or draw.random() < 0.35:
        return message
    return _somewhere_in(draw.choice(inner), draw)


def _mutate_once(message: Message, draw: random.Random, words: Sequence[str]) -> None:
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    filled: list[Any] = [field for field, _ in message.ListFields()]
    field = draw.choice(filled if filled and draw.random() < 0.7 else fields)
    if draw.random() < 0.1:
        message.ClearField(field.name)
    elif _is_map(field):
        _mutate_map(getattr(message, field.name), field, draw, words)
    elif field.is_repeated:
        _mutate_list(getattr(message, field.name), field, draw, words)
    elif field.message_type is not None:
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _value(field, getattr(message, field.name), draw, words))


def _mutate_list(
    items: Any, field: FieldDescriptor, draw: random.Random, words: Sequence[str]
) -> None:
    at = draw.randrange(len(items)) if items else None
    match draw.randrange(5):
        case 0 if at is not None:
            del items[at]
        case 1 if at is not None:
            items.extend([items[at]] * draw.choice((1, 1, 1, 2, 300)))
        case 2 if at is not None and field.message_type is None:
            items[at] = _value(field, items[at], draw, words)
        case 3 if at is not None and field.message_type is not None:
            _mutate_once(items[at], draw, words)
        case _:
            if field.message_type is not None:
                items.add()
            else:
                items.append(_value(field, None, draw, words))


def _mutate_map(
    entries: Any, field: FieldDescriptor, draw: random.Random, words: Sequence[str]
) -> None:
    entry: Any = field.message_type
    key_field, value_field = (entry.fields_by_name[name] for name in ("key", "value"))
    keys = sorted(entries)
    key = draw.choice(keys) if keys and draw.random() < 0.5 else _value(key_field, "", draw, words)
    if key in entries and draw.random() < 0.2:
        del entries[key]
    elif value_field.message_type is not None:
        _mutate_once(entries[key], draw, words)
    else:
        entries[key] = _value(value_field, None, draw, words)


def _value(field: FieldDescriptor, now: Any, draw: random.Random, words: Sequence[str]) -> Any:
    kind = _KINDS[field.type]
    enum = field.enum_type
    if enum is not None and enum.is_closed:
        return draw.choice(sorted(enum.values_by_number))
    if kind in _BITS:
        bits, is_signed = _BITS[kind]
        number = draw.choice((*NUMBERS, draw.randint(-4, 40), (now or 0) + 1, (now or 0) - 1))
        number %= 2**bits
        return number - 2**bits if is_signed and number >= 2 ** (bits - 1) else number
    match kind:
        case "TYPE_BOOL":
            return draw.random() < 0.5
        case "TYPE_FLOAT" | "TYPE_DOUBLE":
            return draw.choice(FLOATS)
        case "TYPE_STRING":
            return draw.choice(words if words and draw.random() < 0.7 else TEXTS)
        case _:
            return mutate_bytes(now or b"\x04\0\0\0abcd", draw)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
