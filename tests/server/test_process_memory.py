"""The C library is told what it keeps, where it can be told."""

import pytest

from eyespot.server import app, first_loads, process_memory


class Library:
    def __init__(self):
        self.calls = []

    def malloc_trim(self, *numbers):
        self.calls.append(("malloc_trim", *numbers))

    def mallopt(self, *numbers):
        self.calls.append(("mallopt", *numbers))


@pytest.fixture
def library(monkeypatch):
    library = Library()
    monkeypatch.setattr(process_memory.ctypes, "CDLL", lambda _: library)
    return library


def test_what_is_free_goes_back(library):
    process_memory.give_back()
    assert library.calls == [("malloc_trim", 0)]


def test_little_is_kept(library):
    process_memory.keep_little()
    # glibc's malloc.h: M_ARENA_MAX is -8, M_MMAP_THRESHOLD -3, M_TRIM_THRESHOLD -1.
    assert library.calls == [("mallopt", -8, 1), ("mallopt", -3, 131072), ("mallopt", -1, 131072)]


def test_tensors_are_kept(library):
    process_memory.keep_tensors()
    assert library.calls == [("mallopt", -3, 8388608), ("mallopt", -1, 8388608)]


def test_another_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(process_memory.ctypes, "CDLL", lambda _: object())
    process_memory.give_back()
    process_memory.keep_little()


@pytest.mark.parametrize("low_memory", [True, False])
async def test_a_small_box_keeps_tensors_once_all_is_loaded(
    repository, serving, monkeypatch, low_memory
):
    told = []
    monkeypatch.setattr(first_loads, "keep_little", lambda: told.append("little"))
    monkeypatch.setattr(app, "keep_tensors", lambda: told.append("tensors"))
    repository.add("net")
    async with serving(low_memory=low_memory):
        assert told == (["little", "tensors"] if low_memory else [])
