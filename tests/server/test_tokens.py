"""Tokens: which file is taken, whose a token is, and when the file is read anew."""

import hashlib
import logging

import pytest

from eyespot.server import tokens
from eyespot.server.callers import Right
from eyespot.server.errors import StartError, UnauthenticatedError
from eyespot.server.tokens import TokenFile

CAMERA, BOSS = "c" * 16, "b" * 40
TEXT = f"""
[camera]
token = "{CAMERA}"
rights = ["infer"]

[boss]
sha256 = "{hashlib.sha256(BOSS.encode()).hexdigest()}"
rights = ["infer", "explain", "admin"]
"""


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "tokens.toml"
    path.write_text(TEXT)
    path.chmod(0o600)
    return path


def test_a_token_is_its_callers_whether_it_or_its_hash_is_kept(path):
    known = TokenFile(path)
    assert known.caller(CAMERA).identity == "camera"
    assert known.caller(CAMERA).rights == {Right.INFER}
    assert known.caller(BOSS).identity == "boss"
    assert known.caller(BOSS).rights == set(Right)


@pytest.mark.parametrize("token", ["", CAMERA[:-1], CAMERA + "c", CAMERA.upper(), "ü" * 16])
def test_other_tokens_are_nobodys(path, token):
    with pytest.raises(UnauthenticatedError):
        TokenFile(path).caller(token)


def test_the_hash_of_a_token_is_no_token(path):
    with pytest.raises(UnauthenticatedError):
        TokenFile(path).caller(hashlib.sha256(BOSS.encode()).hexdigest())


def test_every_token_is_compared_in_constant_time(path, monkeypatch):
    compared = []

    def compare(known, given):
        compared.append((known, given))
        return known == given

    monkeypatch.setattr(tokens.hmac, "compare_digest", compare)
    known = TokenFile(path)
    known.caller(CAMERA)  # the first one, and yet the others are compared too
    assert [given for _, given in compared] == [hashlib.sha256(CAMERA.encode()).digest()] * 2


def test_a_changed_file_is_read_anew_within_a_second(path, clock):
    known = TokenFile(path, clock=clock)
    path.write_text(TEXT.replace(CAMERA, "d" * 16))
    clock.now = 0.9
    assert known.caller(CAMERA)
    clock.now = 1.0
    with pytest.raises(UnauthenticatedError):
        known.caller(CAMERA)
    assert known.caller("d" * 16).identity == "camera"


def test_a_file_that_cannot_be_used_leaves_the_tokens_as_they_were(path, clock, caplog):
    known = TokenFile(path, clock=clock)
    path.write_text("[camera]\ntoken = ")
    clock.now = 1.0
    assert known.caller(CAMERA)
    assert "tokens stay as they were" in caplog.text
    path.unlink()
    clock.now = 2.0
    assert known.caller(CAMERA)


RIGHTS = 'rights = ["infer"]'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no token"),
        (f'token = "{CAMERA}"', "expected a table"),
        (f'[a]\ntoken = "short"\n{RIGHTS}', "at least 16"),
        (f'[a]\ntoken = "{"ü" * 16}"\n{RIGHTS}', "ASCII"),
        (f'[a]\nsha256 = "{"z" * 64}"\n{RIGHTS}', "64 digits"),
        (f'[a]\nsha256 = "{"a" * 63}"\n{RIGHTS}', "64 digits"),
        (f'[a]\ntoken = "{CAMERA}"\nsha256 = "{"a" * 64}"\n{RIGHTS}', "either"),
        (f"[a]\n{RIGHTS}", "either"),
        (f'[a]\ntoken = "{CAMERA}"', "expected rights"),
        (f'[a]\ntoken = "{CAMERA}"\nrights = []', "expected rights"),
        (f'[a]\ntoken = "{CAMERA}"\nrights = ["root"]', "infer, explain, admin"),
        (f'[a]\ntoken = "{CAMERA}"\nrights = [["infer"]]', "expected rights"),
        (f'[a]\ntoken = "{CAMERA}"\n{RIGHTS}\nname = "x"', "unknown setting 'name'"),
        (f'[a]\ntoken = "{CAMERA}"\n{RIGHTS}\n[b]\ntoken = "{CAMERA}"\n{RIGHTS}', "twice"),
        (f'[a]\ntoken = "{CAMERA}\n', "no TOML file"),
        ("[a]\nx = " + "[" * 100_000, "no TOML file"),
        ("#" * (2 << 20), "larger than"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_and_no_token(path, text, expected):
    path.write_text(text)
    with pytest.raises(StartError, match=expected) as caught:
        TokenFile(path)
    assert CAMERA not in str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(StartError, match="No such file"):
        TokenFile(tmp_path / "tokens.toml")


def test_tokens_that_every_user_can_read_are_warned_of(path, caplog):
    path.chmod(0o640)
    TokenFile(path)
    assert not caplog.records
    path.chmod(0o644)
    TokenFile(path)
    assert "chmod o-r" in caplog.text
    caplog.clear()
    text = TEXT.replace(f'token = "{CAMERA}"', f'sha256 = "{"a" * 64}"')
    path.write_text(text)
    with caplog.at_level(logging.WARNING):
        TokenFile(path)
    assert not caplog.records  # hashes alone betray nothing
