"""Log and trace settings as the protocol's extensions write them, and as the server has them."""

from collections.abc import Mapping
from typing import Any

from eyespot.server.errors import InvalidArgumentError, UnimplementedError
from eyespot.server.logs import LogSettings
from eyespot.server.tracing import TraceSettings
from eyespot.v1 import inference_pb2 as pb

_LOG_FIELDS = {
    "log_info": ("info", "bool_param"),
    "log_warning": ("warning", "bool_param"),
    "log_error": ("error", "bool_param"),
    "log_verbose_level": ("verbose_level", "uint32_param"),
    "log_format": ("form", "string_param"),
}
# Our text lines bear ISO 8601 times; JSON is a format that Triton has not.
_FORMS = {"ISO8601": "text", "json": "json"}
_TRACE_LEVELS = {"OFF": False, "TIMESTAMPS": True}
_NOT_HERE = {
    "log_file": "lines go to standard error, and who runs the server keeps them",
    "trace_file": "traces go to a collector, see --trace-endpoint",
    "log_frequency": "traces go to a collector, see --trace-endpoint",
}
_MODE = "opentelemetry"


def read_log_settings(
    asked: Mapping[str, Any], *, now: LogSettings, at_start: LogSettings
) -> LogSettings:
    """What is to be logged; without a value, a setting goes back to what it was at the start.

    Raises:
        InvalidArgumentError: there is no such setting, or its value cannot be.
        UnimplementedError: it cannot be changed here.
    """
    changes: dict[str, Any] = {}
    for name, value in asked.items():
        kind = value.WhichOneof("parameter_choice")
        if name in _NOT_HERE:
            if kind is not None and value.string_param:
                raise UnimplementedError(f"{name} is not here: {_NOT_HERE[name]}")
            continue
        if name not in _LOG_FIELDS:
            raise _unknown("log", name, [*_LOG_FIELDS, "log_file"])
        field, expected = _LOG_FIELDS[name]
        if kind is None or (name == "log_format" and value.string_param == "default"):
            changes[field] = getattr(at_start, field)
            continue
        if kind != expected:
            raise InvalidArgumentError(f"{name} comes as {expected}, found {kind or 'no value'}")
        changes[field] = getattr(value, expected)
        if name == "log_format":
            changes[field] = _choice(name, value.string_param, _FORMS, also="default")
    return now._replace(**changes)


def write_log_settings(settings: LogSettings) -> dict[str, pb.LogSettingsResponse.SettingValue]:
    """All settings, in the protocol's words."""
    make = pb.LogSettingsResponse.SettingValue
    (form,) = (name for name, form in _FORMS.items() if form == settings.form)
    return {
        "log_file": make(string_param=""),
        "log_info": make(bool_param=settings.info),
        "log_warning": make(bool_param=settings.warning),
        "log_error": make(bool_param=settings.error),
        "log_verbose_level": make(uint32_param=settings.verbose_level),
        "log_format": make(string_param=form),
    }


def read_trace_changes(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of TraceSettings that are to change; None for those that are taken back.

    Raises:
        InvalidArgumentError: there is no such setting, or its value cannot be.
        UnimplementedError: it is one of Triton's that traces here have not.
    """
    changes: dict[str, Any] = {}
    for name, setting in asked.items():
        values = list(setting.value)
        match name:
            case "trace_level":
                wanted = [_choice(name, value, _TRACE_LEVELS) for value in values]
                changes["is_on"] = any(wanted) if wanted else None
            case "trace_rate":
                changes["rate"] = _whole(name, values, least=1)
            case "trace_count":
                changes["count"] = _whole(name, values, least=-1)
            case "trace_mode":
                for value in values:
                    _choice(name, value, {_MODE: True})
            case _ if name in _NOT_HERE:
                if values:
                    raise UnimplementedError(f"{name} is not here: {_NOT_HERE[name]}")
            case _:
                raise _unknown(
                    "trace", name, ["trace_level", "trace_rate", "trace_count", "trace_mode"]
                )
    return changes


def write_trace_settings(
    settings: TraceSettings, endpoint: str
) -> dict[str, pb.TraceSettingResponse.SettingValue]:
    """All settings, in the protocol's words; `url` is where the traces go."""
    told = {
        "trace_level": "TIMESTAMPS" if settings.is_on else "OFF",
        "trace_rate": str(settings.rate),
        "trace_count": str(settings.count),
        "trace_mode": _MODE,
    }
    if endpoint:
        told["url"] = endpoint
    return {
        name: pb.TraceSettingResponse.SettingValue(value=[value]) for name, value in told.items()
    }


def _choice(name: str, value: str, choices: Mapping[str, Any], *, also: str = "") -> Any:
    if value not in choices:
        known = ", ".join([*choices, *([also] if also else [])])
        raise InvalidArgumentError(f"{name} is one of {known}, not {value!r}")
    return choices[value]


def _whole(name: str, values: list[str], *, least: int) -> int | None:
    if not values:
        return None
    try:
        (number,) = map(int, values)
    except ValueError:
        number = least - 1
    if number < least:
        raise InvalidArgumentError(
            f"{name} is one whole number of at least {least}, not {', '.join(values)!r}"
        )
    return number


def _unknown(kind: str, name: str, known: list[str]) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"there is no {kind} setting {name!r}; there are {', '.join(known)}"
    )
