"""Log lines, as text and as JSON."""

import io
import json
import logging
import sys

import pytest
from grpc._cython import cygrpc

from eyespot.server.logs import JsonFormatter, Log, LogSettings, TextFormatter


def _record(**extra):
    record = logging.LogRecord(
        "eyespot.server.app", logging.WARNING, "app.py", 1, "model %s", ("net",), None
    )
    record.created = 0.25
    vars(record).update(extra)
    return record


def test_text_has_time_level_message_and_extras():
    line = TextFormatter().format(_record(rows=3))
    assert line == "1970-01-01T00:00:00.250Z WARNING model net rows=3"


def test_json_is_one_object_with_the_trace_inside():
    record = _record(rows=3)
    try:
        raise ValueError("broken\nin two")
    except ValueError:
        record.exc_info = sys.exc_info()
    line = JsonFormatter().format(record)
    assert "\n" not in line
    members = json.loads(line)
    assert "ValueError: broken" in members.pop("exception")
    assert members == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "warning",
        "logger": "eyespot.server.app",
        "message": "model net",
        "rows": 3,
    }


@pytest.fixture
def levels():
    """Puts the process's log back to what it was."""
    root, ours = logging.getLogger(), logging.getLogger("eyespot")
    grpc = logging.getLogger("grpc._cython.cygrpc")
    before = (root.level, root.handlers[:], ours.level, grpc.filters[:])
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    ours.setLevel(before[2])
    grpc.filters[:] = before[3]


@pytest.mark.parametrize(
    ("error", "lines"), [(cygrpc.ExecuteBatchError("sending"), 0), (KeyError("x"), 1)]
)
def test_answers_whose_callers_have_gone_are_no_errors(levels, monkeypatch, error, lines):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    Log(LogSettings.from_level("info", "text")).open()
    try:
        raise error
    except type(error):
        logging.getLogger("grpc._cython.cygrpc").exception("raised in core by servicer method")
    assert sys.stderr.getvalue().count("ERROR raised in core") == lines


def test_libraries_are_not_heard_at_debug(levels):
    Log(LogSettings.from_level("debug", "text")).open()
    assert logging.getLogger("eyespot.server.access").isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("grpc._cython.cygrpc").isEnabledFor(logging.DEBUG)
    Log(LogSettings.from_level("error", "text")).open()
    assert not logging.getLogger("eyespot.server.app").isEnabledFor(logging.WARNING)
    assert not logging.getLogger("asyncio").isEnabledFor(logging.WARNING)
