"""Records that were filled from JSON: whether each field holds what it is declared to hold."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_field_types(instance: Any) -> None:
    """Compare fields with their annotations, and those of the records that they hold.

    Args:
        instance: A named tuple or a dataclass.

    Raises:
        TypeError: One differs; the message names it.
    """
    for name, hint in get_type_hints(type(instance)).items():
        value = getattr(instance, name)
        if not _fits(value, hint):
            named = hint.__name__ if isinstance(hint, type) else str(hint)
            raise TypeError(f"{name} must be {named}, found {str(value)[:80]!r}")


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, choice) for choice in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and _all_fit(value, arguments)
    if origin is Mapping:
        of_key, of_value = arguments
        return isinstance(value, Mapping) and all(
            _fits(key, of_key) and _fits(each, of_value) for key, each in value.items()
        )
    if hint in (int, float):  # JSON writes 1.0 as 1, and a bool is no number
        return isinstance(value, int | hint) and not isinstance(value, bool)
    if hasattr(hint, "__annotations__") and isinstance(value, hint):
        check_field_types(value)
    return isinstance(value, hint)


def _all_fit(values: tuple[Any, ...], hints: tuple[Any, ...]) -> bool:
    if hints[-1] is Ellipsis:
        return all(_fits(value, hints[0]) for value in values)
    return len(values) == len(hints) and all(map(_fits, values, hints))
