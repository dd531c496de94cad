"""The live table: what it makes of two looks, and how it is drawn."""

import io
import sys
from dataclasses import replace

import grpc
import pytest
from rich.console import Console

from eyespot.cli.activity import activity_between
from eyespot.cli.watch import History, Look, draw, sparkline, watch
from eyespot.client import (
    Duration,
    Histogram,
    ModelStatistics,
    ModelStatus,
    UnauthenticatedError,
    UnavailableError,
)

GONE = UnavailableError(grpc.StatusCode.UNAVAILABLE, "connection refused")
BOUNDS = (0.001, 0.002, 0.005)


def statistics(requests, rows, batches, *, failed=0, seconds=(0, 0, 0, 0), sizes=None, waiting=0):
    histogram = Histogram(BOUNDS, seconds)
    return ModelStatistics(
        name="net",
        version="1",
        inference_count=rows,
        execution_count=batches,
        success=Duration(requests),
        fail=Duration(failed),
        queue=Duration(requests),
        compute_infer=Duration(requests),
        batch_counts=sizes or {},
        histograms={"request_seconds": histogram, "queue_seconds": histogram},
        pending_request_count=waiting,
    )


def test_two_looks_give_rates_batches_and_quantiles():
    before = statistics(10, 30, 10, sizes={3: 10, 8: 1}, seconds=(10, 0, 0, 0))
    after = statistics(
        50, 130, 30, failed=2, sizes={3: 25, 5: 5, 8: 1}, seconds=(30, 20, 0, 0), waiting=7
    )
    found = activity_between(before, after, 4.0)
    assert found.requests_per_second == 10
    assert found.rows_per_second == 25
    assert found.failures_per_second == 0.5
    assert found.waiting == 7
    assert found.mean_batch == 5
    assert found.largest_batch == 5  # the one of 8 rows is of an earlier time
    # 20 below 1 ms and 20 from 1 to 2 ms: the middle is 1 ms, 95 % are 0.9 of the way to 2.
    assert found.latency_ms == pytest.approx((1.0, 1.9, 1.98))
    assert found.queue_ms == pytest.approx(1.9)


def test_a_model_that_was_loaded_anew_begins_anew():
    found = activity_between(statistics(50, 50, 50), statistics(4, 8, 2), 2.0)
    assert (found.requests_per_second, found.rows_per_second, found.mean_batch) == (2, 4, 4)


def test_what_could_not_be_explained_has_failed_too():
    before = replace(statistics(1, 1, 1), explain_fail=Duration(2))
    after = replace(statistics(1, 1, 1, failed=1), explain_fail=Duration(5))
    assert activity_between(before, after, 2.0).failures_per_second == 2
    before = replace(before, explain_success=Duration(9))
    assert activity_between(before, after, 2.0).failures_per_second == 3  # it was loaded anew


def test_where_nothing_happened_nothing_is_told():
    look = statistics(5, 5, 5, sizes={1: 5}, seconds=(5, 0, 0, 0))
    found = activity_between(look, look, 2.0)
    assert found.requests_per_second == 0
    assert found.mean_batch is found.largest_batch is found.queue_ms is None
    assert found.latency_ms == (None, None, None)


def test_a_curve_is_as_high_as_its_largest():
    assert sparkline([0, 1, 7, 3.5]) == "▁▂█▅"
    assert sparkline([0, 0]) == "▁▁"


class FakeClient:
    """Answers with one look after the other; an error is raised."""

    def __init__(self, *looks, is_draining=False):
        self._looks = iter(looks)
        self.is_draining = is_draining

    def repository_index(self):
        self._look = next(self._looks)
        if isinstance(self._look, Exception):
            raise self._look
        return [
            ModelStatus("net", "1", "READY", ""),
            ModelStatus("torn", "1", "UNAVAILABLE", "no graph"),
            ModelStatus("asleep", "", "", ""),
        ]

    def statistics(self):
        return [self._look]

    def server_ready(self):
        return not self.is_draining

    def model_ready(self, name, *, model_version):
        assert (name, model_version) == ("net", "1")
        return not self.is_draining


class Time:
    """A clock that goes on while somebody pauses."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def pause(self, seconds):
        self.now += seconds


def watched(*looks, width=140, is_draining=False):
    time, text = Time(), io.StringIO()
    watch(
        FakeClient(*looks, is_draining=is_draining),
        title="here",
        seconds=2.0,
        console=Console(file=text, width=width),
        clock=time,
        pause=time.pause,
        rounds=len(looks),
    )
    return text.getvalue()


def test_the_table_is_drawn_at_each_look():
    text = watched(
        statistics(0, 0, 0),
        statistics(2000, 6000, 1000, sizes={6: 1000}, seconds=(0, 2000, 0, 0), waiting=3),
    )
    first, second = text.split("here: 1 of 2 model versions ready")[1:]
    assert [line.split() for line in first.splitlines()[2:4]] == [
        ["net", "1", *"·" * 12],
        ["torn", "1", "unavailable"],
    ]
    (net,) = (line.split() for line in second.splitlines() if line.startswith("net"))
    # 2000 requests in 2 s, all from 1 to 2 ms.
    assert net == ["net", "1", "1,000", "█", "3,000", *"··", "6.00", "6", "3",
                   "1.95", "1.50", "1.95", "1.99"]  # fmt: skip
    assert "1 model is not loaded; Ctrl-C ends it" in second


def test_a_narrow_terminal_gets_what_matters_most():
    looks = statistics(0, 0, 0), statistics(20, 20, 10, seconds=(20, 0, 0, 0))
    text = watched(*looks, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "EXPL/S" not in text
    (net,) = (line.split() for line in text.splitlines()[-5:] if line.startswith("net"))
    assert net == ["net", "1", "10.0", "10.0", "·", "2.00", "·", "0.50", "0.95", "0.99"]


def test_a_server_that_is_gone_for_a_while_is_told_below_the_table():
    looks = statistics(0, 0, 0), GONE, statistics(8, 8, 8)
    _, gone, back = watched(*looks).split("here: 1 of 2 model versions ready")[1:]
    assert "no answer: connection refused" in gone
    assert "no answer" not in back
    assert "2.00" in back  # 8 requests in the 4 s since the last look that found anything


def test_a_server_that_is_not_there_yet_is_waited_for():
    gone, back = watched(GONE, statistics(0, 0, 0)).split("here: ")[1:]
    assert gone.startswith("waiting for the server")
    assert "no answer: connection refused" in gone
    assert back.startswith("1 of 2 model versions ready")
    assert "no answer" not in back


def test_a_server_that_is_shutting_down_says_so():
    text = watched(statistics(0, 0, 0), is_draining=True)
    assert text.startswith("here: shutting down, what was admitted is answered ")


def test_what_is_no_matter_of_time_ends_it():
    refused = UnauthenticatedError(grpc.StatusCode.UNAUTHENTICATED, "a token is wanted")
    with pytest.raises(UnauthenticatedError):
        watched(refused)


def test_before_the_first_look_there_is_an_empty_table():
    assert draw(History(), "here").row_count == 0
    history = History()
    history.add(Look(0.0, [ModelStatus("net", "1", "LOADING", "")], {}))
    assert draw(history, "here").row_count == 1


def test_a_table_is_not_for_machines(run, address):
    ran = run("status", "--server", address, "--watch", "--json")
    assert ran.code == 2
    assert "--watch draws a table for people" in ran.err


def test_the_extra_is_named(run, address, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "eyespot.cli.watch", raising=False)
    monkeypatch.setitem(sys.modules, "rich", None)
    ran = run("status", "--server", address, "--watch")
    assert ran.code == 1
    assert "pip install 'eyespot[watch]'" in ran.err
