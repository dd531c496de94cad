"""What is logged, changed while the server runs."""

import logging
import sys
from pathlib import Path

import grpc
import pytest
from tests.server.tiny import status_of

from eyespot.server.logs import Log, LogSettings, leave_lines_that_cannot_be_written
from eyespot.v1 import inference_pb2 as pb


@pytest.fixture(autouse=True)
def _loggers_as_before():
    root, ours = logging.getLogger(), logging.getLogger("eyespot")
    before = (root.level, root.handlers[:], ours.level)
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    ours.setLevel(before[2])


def ask(**values):
    request = pb.LogSettingsRequest()
    for name, value in values.items():
        if value is None:
            request.settings[name].SetInParent()
        elif isinstance(value, bool):
            request.settings[name].bool_param = value
        elif isinstance(value, int):
            request.settings[name].uint32_param = value
        else:
            request.settings[name].string_param = value
    return request


def told(response):
    return {
        name: getattr(value, value.WhichOneof("parameter_choice"))
        for name, value in response.settings.items()
    }


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", [10, 20, 30, 40]),
        ("info", [20, 30, 40]),
        ("warning", [30, 40]),
        ("error", [40]),
    ],
)
def test_a_level_and_all_above_it(level, written):
    settings = LogSettings.from_level(level, "text")
    assert [number for number in (10, 20, 30, 40) if settings.wants(number)] == written


def test_each_level_is_switched_by_itself(capsys):
    log = Log(LogSettings(info=False, verbose_level=1))
    log.open()
    logger = logging.getLogger("eyespot.server.app")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logger.log(level, "line %d", level)
    log.change(LogSettings(error=False, form="json"))
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logger.log(level, "line %d", level)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("line ")[2] for line in lines[:3]] == ["10", "30", "40"]
    assert [line.startswith("{") for line in lines] == [False] * 3 + [True] * 2
    assert ["line 20" in lines[3], "line 30" in lines[4]] == [True, True]


def test_what_nobody_wants_is_not_even_made():
    log = Log(LogSettings())
    access = logging.getLogger("eyespot.server.access")
    for verbose in (0, 1, 0):
        log.change(LogSettings(verbose_level=verbose))
        assert access.isEnabledFor(logging.DEBUG) == (verbose > 0)
    log.change(LogSettings(info=False, warning=False, error=False))
    assert not access.isEnabledFor(logging.ERROR)


def test_lines_that_a_full_disk_does_not_take_are_lost_and_nothing_else(monkeypatch):
    full = Path("/dev/full").open("w")  # noqa: SIM115  (that it closes is the test)
    monkeypatch.setattr(sys, "stderr", full)
    Log(LogSettings()).open()
    logging.getLogger("eyespot").warning("nobody will read this")
    leave_lines_that_cannot_be_written()
    full.close()


async def test_settings_are_told_changed_and_taken_back(repository, serving):
    async with serving(log_level="warning", settings_calls=True) as (_, client):
        settings = client.inference.LogSettings
        at_start = {
            "log_file": "",
            "log_info": False,
            "log_warning": True,
            "log_error": True,
            "log_verbose_level": 0,
            "log_format": "ISO8601",
        }
        assert told(await settings(ask())) == at_start
        changed = told(await settings(ask(log_verbose_level=2, log_format="json", log_info=True)))
        assert changed == at_start | {
            "log_verbose_level": 2,
            "log_format": "json",
            "log_info": True,
        }
        assert logging.getLogger("eyespot.server.access").isEnabledFor(logging.DEBUG)
        assert told(await settings(ask(log_format="default", log_info=None))) == at_start | {
            "log_verbose_level": 2
        }
        assert told(await settings(ask(log_format="ISO8601", log_file="")))["log_file"] == ""


@pytest.mark.parametrize(
    ("asked", "code", "why"),
    [
        ({"log_file": "/tmp/log"}, grpc.StatusCode.UNIMPLEMENTED, "standard error"),
        ({"log_colour": True}, grpc.StatusCode.INVALID_ARGUMENT, "no log setting 'log_colour'"),
        ({"log_format": "xml"}, grpc.StatusCode.INVALID_ARGUMENT, "ISO8601, json, default"),
        ({"log_info": 1}, grpc.StatusCode.INVALID_ARGUMENT, "comes as bool_param"),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_changed(serving, asked, code, why):
    async with serving(settings_calls=True) as (_, client):
        before = told(await client.inference.LogSettings(ask()))
        found, text = await status_of(
            client.inference.LogSettings(ask(log_verbose_level=3, **asked))
        )
        assert (found, why in text) == (code, True), text
        assert told(await client.inference.LogSettings(ask())) == before
