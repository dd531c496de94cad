"""Log lines as text for people or as JSON for machines, on standard error.

Loggers are taken by module name everywhere; whatever is passed as `extra` is kept: as
`key=value` behind the message, or as members of the JSON object.
"""

import datetime
import json
import logging

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO serving on 127.0.0.1:8001 key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Writes one record, its trace on further lines."""
        parts = [_timestamp(record), record.levelname, record.getMessage()]
        parts += [f"{key}={value}" for key, value in _extras(record).items()]
        if record.exc_info:
            parts.append("\n" + self.formatException(record.exc_info))
        return " ".join(parts)


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


def configure_logging(level: str, form: str) -> None:
    """Sends everything from `level` upwards to standard error, as "text" or "json".

    Libraries say at debug what only their authors can read: theirs begins at info.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    others = max(logging.INFO, logging.getLevelNamesMapping()[level.upper()])
    logging.basicConfig(level=others, handlers=[handler], force=True)
    logging.getLogger("eyespot").setLevel(level.upper())


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}
