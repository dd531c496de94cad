"""What a soak checks can fail; `make soak` runs it for as long as one likes."""

import itertools
import sys

import numpy as np
import pytest
from scipy.stats import theilslopes
from tests.soak.__main__ import main
from tests.soak.answers import (
    LiveVersions,
    WrongAnswerError,
    check_attributions,
    check_output,
)
from tests.soak.leaking_server import LEAKS
from tests.soak.models import PICTURE, ROWS, WIDE, weights
from tests.soak.process import Sample
from tests.soak.verdict import judge, slope

REST = Sample(0, 300, 16, 15)


def _samples(memory):
    return [Sample(n / 10, each, 30, 20) for n, each in enumerate(memory)]


def _failing(samples, after=REST):
    return [check.name for check in judge(samples, REST, after) if not check.holds]


def test_the_slope_is_that_of_theil_and_sen():
    assert slope([0, 1, 2, 4], [1, 3, 5, 9]) == 2
    assert slope([0, 1, 2, 3, 4], [1, 3, 100, 7, 9]) == 2  # one of five is anywhere
    random = np.random.default_rng(0)
    minutes, values = np.sort(random.random(50)), random.random(50)
    expected = theilslopes(values, minutes).slope
    assert slope(minutes.tolist(), values.tolist()) == pytest.approx(expected)


def test_noise_and_what_settles_early_are_no_leak():
    noise = np.random.default_rng(0).normal(0, 3, 100)
    assert _failing(_samples(300 + noise)) == []
    assert _failing(_samples(300 - 80 * np.exp(-np.arange(100) / 10))) == []
    assert _failing(_samples(400 - np.arange(100.0))) == []  # given back


def test_memory_that_grows_on_is_a_leak():
    # 50 samples of 0.2 MiB more each: 9.8 MiB, above 2 % of some 315.
    assert _failing(_samples(300 + 0.2 * np.arange(100))) == ["memory over the second half"]
    assert _failing(_samples(300 + 0.1 * np.arange(100))) == []


@pytest.mark.parametrize(
    ("after", "failing"),
    [
        (Sample(0, 300, 24, 23), []),
        (Sample(0, 300, 25, 15), ["file descriptors at rest"]),
        (Sample(0, 300, 16, 24), ["threads at rest"]),
        (Sample(0, 300, 10, 10), []),
    ],
)
def test_descriptors_and_threads_come_back(after, failing):
    assert _failing(_samples([300.0] * 10), after) == failing


def test_a_version_answers_while_it_is_live():
    live = LiveVersions()
    live.begin(ROWS, 1, 0.0)
    live.begin(ROWS, 2, 10.0)
    live.end_others(ROWS, 2, 12.0)
    live.check(ROWS, "1", sent=11.0, received=15.0)  # admitted before the swap
    live.check(ROWS, "2", sent=9.0, received=10.5)
    for version, sent, received in (("1", 12.5, 13), ("2", 8, 9), ("3", 11, 12)):
        with pytest.raises(WrongAnswerError, match=f"version {version}, which was not live"):
            live.check(ROWS, version, sent=sent, received=received)


def test_an_answer_is_that_of_its_request_and_version():
    x = np.float32([[1, 2, 3, 4]])
    check_output(ROWS, "3", x, np.float32([[5, 7, 9, 11]]))
    check_output(WIDE, "1", x, -x)
    for y in (np.float32([[4, 6, 8, 10]]), np.float32([[5, 7, 9, 12]]), np.float32([[5, 7]])):
        with pytest.raises(WrongAnswerError, match="rows version 3 answered"):
            check_output(ROWS, "3", x, y)


def test_the_versions_of_a_picture_differ_in_answers_and_in_gradients():
    pictures = np.ones((1, 3, 8, 8), np.float32)
    answers = {version: weights(version).sum(axis=1)[None] for version in (1, 2, 3)}
    check_output(PICTURE, "1", pictures, answers[3])
    check_attributions("2", [3, 0], weights(2)[[3, 0]].reshape(2, 3, 8, 8))
    with pytest.raises(WrongAnswerError):
        check_output(PICTURE, "1", pictures, answers[2])
    for version, targets in itertools.product("12", ([3, 0], [0, 3])):
        if (version, targets) != ("2", [3, 0]):
            with pytest.raises(WrongAnswerError):
                check_attributions(version, targets, weights(2)[[3, 0]].reshape(2, 3, 8, 8))


@pytest.mark.giant
@pytest.mark.parametrize("leak", ["none", *LEAKS])
def test_a_short_soak_fails_if_and_only_if_something_leaks(leak, tmp_path, monkeypatch, capsys):
    options = ["--minutes", "0.15", "--seed", "1", "--picture", str(tmp_path / "soak.png")]
    leaks = [] if leak == "none" else ["--leak", leak]
    monkeypatch.setattr(sys, "argv", ["soak", *options, *leaks])
    assert main() == bool(leaks), capsys.readouterr().out
    assert "answers wrong                                         0" in capsys.readouterr().out
    assert (tmp_path / "soak.png").stat().st_size > 10_000
