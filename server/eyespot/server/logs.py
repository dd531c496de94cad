"""Log lines as text for people or as JSON for machines, on standard error.

Loggers are taken by module name everywhere; whatever is passed as `extra` is kept: as
`key=value` behind the message, or as members of the JSON object. What is written may be
changed while the server runs, in the words of the protocol's logging extension.
"""

import datetime
import json
import logging
import os
import sys
from typing import NamedTuple, Self

# Control characters, and those that turn or end lines in other ways.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(0x7F, 0xA0))} | {
    code: f"\\u{code:04x}" for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))
}
_GRPC_LOGGER = "grpc._cython.cygrpc"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO serving on 127.0.0.1:8001 key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Writes one record, its trace on further lines."""
        parts = [_timestamp(record), record.levelname, record.getMessage()]
        parts += [f"{key}={value}" for key, value in _extras(record).items()]
        # What is quoted, as a caller's name of a model, must not look like another line.
        line = " ".join(parts).translate(_ESCAPES)
        return f"{line} \n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Writes one record, its trace as the member `exception`."""
        members = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return json.dumps(members, default=str, ensure_ascii=False)


class LogSettings(NamedTuple):
    """What is written: each level by itself, and lines for each call from verbose level 1 on.

    `form` is "text" or "json".
    """

    info: bool = True
    warning: bool = True
    error: bool = True
    verbose_level: int = 0
    form: str = "text"

    @classmethod
    def from_level(cls, level: str, form: str) -> Self:
        """Everything from a level upwards: "debug", "info", "warning" or "error"."""
        return cls(
            info=level in ("debug", "info"),
            warning=level != "error",
            verbose_level=1 if level == "debug" else 0,
            form=form,
        )

    def wants(self, level: int) -> bool:
        """Whether lines of a level are written."""
        if level < logging.INFO:
            return self.verbose_level > 0
        if level < logging.WARNING:
            return self.info
        return self.warning if level < logging.ERROR else self.error


class Log:
    """The log of a process.

    Libraries say at debug what only their authors can read: theirs begins at info.
    """

    def __init__(self, settings: LogSettings) -> None:
        self.at_start = settings
        self._handler = logging.StreamHandler()
        self._handler.addFilter(lambda record: self._settings.wants(record.levelno))
        self._settings = settings

    @property
    def settings(self) -> LogSettings:
        """What is written now."""
        return self._settings

    def open(self) -> None:
        """Sends everything that is wanted to standard error, and nothing elsewhere."""
        logging.basicConfig(handlers=[self._handler], force=True)
        logging.getLogger(_GRPC_LOGGER).addFilter(_is_waited_for)
        self.change(self._settings)

    def change(self, settings: LogSettings) -> None:
        """Writes something else from now on."""
        self._settings = settings
        self._handler.setFormatter(JsonFormatter() if settings.form == "json" else TextFormatter())
        # What no handler wants is not even made.
        levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
        least = next(filter(settings.wants, levels), logging.CRITICAL + 1)
        logging.getLogger().setLevel(max(logging.INFO, least))
        logging.getLogger("eyespot").setLevel(least)


def leave_lines_that_cannot_be_written() -> None:
    """Lets the process end with its own exit code where a full disk has no room for them."""
    try:
        sys.stderr.flush()
    except OSError:
        # Python would try again at the end, and make the exit code 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _is_waited_for(record: logging.LogRecord) -> bool:
    """Whether a line of gRPC tells of more than an answer whose caller has gone meanwhile.

    That is no fault, and under overload it comes hundreds of times a second, with its trace.
    """
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ExecuteBatchError"


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}
