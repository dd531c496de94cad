import sys
from pathlib import Path

import pytest

from eyespot.cli.errors import CommandError, telling
from eyespot.cli.output import (
    class_text,
    counted,
    number_text,
    print_facts,
    print_json,
    print_table,
)
from eyespot.cli.progress import Counter, Share
from eyespot.client import Duration


def test_columns_of_numbers_are_flush_right(capsys):
    print_table(("NAME", "N", "X"), [("a", 12345, 0.12345), ("bbbbb", 1, None)])
    assert capsys.readouterr().out.splitlines() == [
        "NAME        N      X",
        "a      12,345  0.123",
        "bbbbb       1      -",
    ]


TABLE = ("NAME", "N", "PAPER", "MORE"), [("net", 1, "LeCun et al.", "so it is")]
WHOLE = ["NAME  N  PAPER         MORE", "net   1  LeCun et al.  so it is"]
NOTE = "for want of room; --json has all"


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        ("31", WHOLE),
        ("30", ["NAME  N  MORE", "net   1  so it is", f"without PAPER, {NOTE}"]),
        ("17", ["NAME  N  MORE", "net   1  so it is", f"without PAPER, {NOTE}"]),
        ("16", ["NAME  MORE", "net   so it is", f"without N, PAPER, {NOTE}"]),
        ("13", ["NAME  MORE", "net   so it is", f"without N, PAPER, {NOTE}"]),  # as near as it goes
    ],
)
def test_a_narrow_terminal_does_without_what_is_least_missed(capsys, monkeypatch, columns, lines):
    monkeypatch.setenv("COLUMNS", columns)
    print_table(*TABLE, dispensable=("PAPER", "N"))
    assert capsys.readouterr().out.splitlines() == WHOLE  # it is no terminal
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(*TABLE, dispensable=("PAPER", "N"))
    assert capsys.readouterr().out.splitlines() == lines


def test_the_status_fits_80_columns(run, address, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _, *table = run("status", "--server", address).out.splitlines()
    assert max(map(len, table)) <= 80
    assert table[0].endswith("FAILED  QUEUE MS  COMPUTE MS  REASON")
    assert table[-1].startswith("without BATCHES, MEAN BATCH, for want of room")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (12.0, "12"), (999.4, "999"), (999.6, "1,000"), (1784.2, "1,780"),
     (-123456.0, "-123,000"), (2.5e12, "2.5e+12"), (1e-7, "1e-07"), (float("inf"), "inf")],
)  # fmt: skip
def test_numbers_have_three_digits_and_no_exponent_where_they_can_do_without(value, text):
    assert number_text(value) == text


def test_one_thing_and_several():
    assert counted(1, "batch", "batches") == "1 batch"
    assert counted(0, "batch", "batches") == "0 batches"
    assert counted(1234, "model version") == "1,234 model versions"


def test_a_label_that_is_the_index_is_told_once():
    told = [class_text(7, label) for label in ("7", "seven", "")]
    assert told == ["7", "seven (7)", "class 7"]


def test_what_the_system_says_is_told_without_its_number(tmp_path):
    with pytest.raises(CommandError) as told, telling(OSError):
        (tmp_path / "absent").read_bytes()
    assert str(told.value) == f"{tmp_path / 'absent'}: no such file or directory"


def test_facts_that_are_not_known_are_left_out(capsys):
    print_facts({"name": "x", "paper": "", "year": None, "files": "a\nb"})
    assert capsys.readouterr().out.splitlines() == ["name   x", "files  a", "       b"]


def test_json_of_values(capsys):
    print_json({"duration": Duration(1, 2), "path": Path("a/b"), "text": "ä"})
    assert capsys.readouterr().out == (
        '{\n  "duration": {\n    "count": 1,\n    "total_ns": 2\n  },\n'
        '  "path": "a/b",\n  "text": "ä"\n}\n'
    )
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        print_json({1, 2})


def test_counts_are_told_every_two_seconds():
    now, told = [0.0], []
    counter = Counter(told.append, 100, "pictures", clock=lambda: now[0])
    for moment in (1.0, 2.5, 3.0, 4.6):
        now[0] = moment
        counter.add(10)
    assert told == ["20 of 100 pictures", "40 of 100 pictures"]


def test_a_share_is_told_from_time_to_time():
    now, told = [0.0], []
    share = Share(told.append, "rise of 1 picture", clock=lambda: now[0])
    for now[0], reached in ((0.4, 0.1), (2.1, 0.25), (3.8, 0.5), (4.4, 1.0)):
        share.reach(reached)
    assert told == ["rise of 1 picture: 25%", "rise of 1 picture: 100%"]
