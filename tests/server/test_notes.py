"""The file that a server leaves to the one that takes its place."""

import os
import tempfile

import pytest

from eyespot.server.notes import Notes, open_notes


def test_the_next_server_reads_what_was_told_last_about_each_subject(notes):
    assert Notes(notes).about("models") == {}
    first = Notes(notes)
    first.tell("models", {"ä": [1, None]})
    first.tell("others", {"b": [2]})
    first.tell("models", {"ä": [3, None]})
    following = Notes(notes)
    assert following.about("models") == {"ä": [3, None]}
    assert following.about("others") == {"b": [2]}


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_a_server_that_is_killed_while_it_writes_leaves_what_was(notes, monkeypatch, share):
    write = os.pwrite

    def write_and_end(descriptor, content, start):
        write(descriptor, content[: int(len(content) * share)], start)
        raise KeyboardInterrupt

    before = {}
    for word in [letter * length for letter in "ab" for length in (1, 50, 3, 200)]:
        monkeypatch.setattr(os, "pwrite", write_and_end)
        with pytest.raises(KeyboardInterrupt):
            Notes(notes).tell("words", {"never": None})
        monkeypatch.setattr(os, "pwrite", write)
        assert Notes(notes).about("words") == before
        before = {word: len(word)}
        Notes(notes).tell("words", before)


def test_the_file_does_not_grow_with_what_is_told(notes):
    told = Notes(notes)
    for count in range(100, 300):
        told.tell("numbers", {"count": count})
    assert os.fstat(notes).st_size < 100  # a line of some 30 bytes twice, and where it is


@pytest.mark.parametrize("content", [b"short", b"\xff" * 16, b"\x10" + b"\0" * 15])
def test_notes_that_cannot_be_read_do_not_keep_the_server_from_starting(notes, caplog, content):
    os.pwrite(notes, content, 0)
    found = Notes(notes)
    assert (found.about("words"), found.are_kept) == ({}, False)
    assert "what calls had loaded is not known any more" in caplog.text


def test_without_a_place_for_temporary_files_there_are_no_notes(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert open_notes() is None
    assert "TMPDIR names another folder" in caplog.text
