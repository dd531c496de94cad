"""What a room offers is what its face says: no more, no less."""

import importlib
import types

import pytest

ROOMS = ["zoo", "exporter", "transfer", "server", "saliency", "client"]


@pytest.mark.parametrize("room", ROOMS)
def test_all_names_what_is_visible(room):
    face = importlib.import_module(f"eyespot.{room}")
    visible = {
        name
        for name, value in vars(face).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert sorted(face.__all__) == sorted(visible - {"annotations"})


@pytest.mark.parametrize("room", ROOMS)
def test_whatever_is_offered_is_documented(room):
    face = importlib.import_module(f"eyespot.{room}")
    assert face.__doc__
    for name in face.__all__:
        value = getattr(face, name)
        if callable(value):
            assert value.__doc__, f"eyespot.{room}.{name} has no docstring"
