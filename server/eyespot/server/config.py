"""The server's settings: a field is a flag, an environment variable and a key of a TOML file.

The field `drain_seconds` is the flag `--drain-seconds`, the variable
`EYESPOT_DRAIN_SECONDS` and the key `drain_seconds`. A flag outweighs a variable,
a variable the file (`--config`, `EYESPOT_CONFIG`), the file the default.
"""

import argparse
import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, get_type_hints

from eyespot.server.errors import ConfigError

ENVIRONMENT_PREFIX = "EYESPOT_"
# Variables of other parts of Eyespot, beside the one that names the file.
_OTHER_VARIABLES = frozenset({"CONFIG", "CACHE", "SERVER", "DATA", "TLS_CA", "TOKEN", "SUPERVISOR"})
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
# Numbers that are no count, by the last word of their names.
_NUMBERS_BY_NAME = frozenset({"MIB", "PORT", "SECONDS"})


def _about(
    text: str,
    *,
    choices: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
) -> dict[str, Any]:
    return {"help": text, "choices": tuple(choices), "minimum": minimum, "maximum": maximum}


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Everything that can be set; impossible values raise ConfigError."""

    repository: Path = field(metadata=_about("folder of the model repository"))
    host: str = field(default="127.0.0.1", metadata=_about("address to listen on; 0.0.0.0 for all"))
    port: int = field(
        default=8001,
        metadata=_about("port to listen on; 0 takes a free one", minimum=0, maximum=65535),
    )
    port_file: Path | None = field(
        default=None,
        metadata=_about("file that receives the port once the models are loaded"),
    )
    tls_certificate: Path | None = field(
        default=None,
        metadata=_about("PEM file of the certificate chain; connections are TLS, and only that"),
    )
    tls_key: Path | None = field(
        default=None, metadata=_about("PEM file of the certificate's key, without a password")
    )
    tls_client_ca: Path | None = field(
        default=None,
        metadata=_about("PEM file of the authority that callers' certificates must be of"),
    )
    token_file: Path | None = field(
        default=None,
        metadata=_about("TOML file of tokens and their rights; who has none is not answered"),
    )
    admin_port: int = field(
        default=0,
        metadata=_about(
            "second port, for all calls; the first then takes no admin calls; 0: none",
            minimum=0,
            maximum=65535,
        ),
    )
    admin_host: str = field(
        default="127.0.0.1",
        metadata=_about("address of the admin port, and of the metrics where there is one"),
    )
    settings_calls: bool = field(
        default=False,
        metadata=_about(
            "let calls change what is logged and traced; those of the admin port and with an "
            "admin token always may"
        ),
    )
    max_requests_per_second: float = field(
        default=0.0,
        metadata=_about(
            "requests per second of one caller, by token, certificate or address; 0: no bound",
            minimum=0,
        ),
    )
    max_concurrent_streams: int = field(
        default=1024,
        metadata=_about("calls that one connection may have under way", minimum=1),
    )
    device: str = field(
        default="cpu",
        metadata=_about("where sessions run; never falls back", choices=("cpu", "cuda")),
    )
    intra_op_num_threads: int = field(
        default=1, metadata=_about("threads inside one run of a session", minimum=1, maximum=1024)
    )
    sessions: int = field(
        default=0,
        metadata=_about(
            "batches of one model that run at once, on one copy of its weights; "
            "0: one more than the cores can run (cpu), one (cuda)",
            minimum=0,
            maximum=1024,
        ),
    )
    low_memory: bool = field(
        default=False,
        metadata=_about(
            "less memory rather than speed: no arena, one batch of a model at a time, weights as "
            "they lie in the file; config.pbtxt and --sessions outweigh it"
        ),
    )
    model_cache: str = field(
        default="auto",
        metadata=_about(
            "folder where optimised graphs are kept for the next start; auto: eyespot/models in "
            "the user's cache; off: none"
        ),
    )
    max_request_mib: int = field(
        default=64,
        metadata=_about("largest request in MiB; larger ones are refused", minimum=1, maximum=2047),
    )
    max_queue_size: int = field(
        default=1024,
        metadata=_about("requests that may wait per model; config.pbtxt outweighs it", minimum=1),
    )
    max_waiting_mib: int = field(
        default=2048,
        metadata=_about(
            "MiB of all requests that wait or run, for all models together; one caller may have "
            "half of it",
            minimum=1,
        ),
    )
    decode_images: bool = field(
        default=True,
        metadata=_about(
            "let what takes pixels by a rule of its own take JPEG, PNG and WebP files too, by the "
            "name <model>_image"
        ),
    )
    model_control_mode: str = field(
        default="none",
        metadata=_about(
            "none: the repository as it is at the start; explicit: what --load-model names, and "
            "calls load and unload; poll: changes of the repository are followed",
            choices=("none", "explicit", "poll"),
        ),
    )
    load_model: str = field(
        default="",
        metadata=_about(
            "with explicit: the models to load at the start, separated by commas; * for all"
        ),
    )
    repository_poll_seconds: float = field(
        default=15.0, metadata=_about("with poll: time between two looks", minimum=0.01)
    )
    load_files: bool = field(
        default=False,
        metadata=_about("with explicit: let a call that loads a model bring its files along"),
    )
    shared_memory: bool = field(
        default=False,
        metadata=_about("let calls name tensors in POSIX shared memory of this machine"),
    )
    shared_memory_prefix: str = field(
        default="",
        metadata=_about("what the keys of shared memory objects begin with that calls may name"),
    )
    metrics_port: int = field(
        default=0,
        metadata=_about(
            "port for Prometheus metrics over HTTP, such as Triton's 8002; 0: none",
            minimum=0,
            maximum=65535,
        ),
    )
    server_id: str = field(
        default="eyespot", metadata=_about("name by which the server tells itself, Triton's --id")
    )
    trace_endpoint: str = field(
        default="",
        metadata=_about(
            "OTLP collector that gets a trace of each request over gRPC, such as "
            "http://127.0.0.1:4317; empty: none, unless OTEL_EXPORTER_OTLP_ENDPOINT is set"
        ),
    )
    trace_rate: int = field(
        default=1,
        metadata=_about(
            "every how many requests one is traced; those that their caller traces always are",
            minimum=1,
        ),
    )
    drain_seconds: float = field(
        default=30.0, metadata=_about("time to finish admitted requests after SIGTERM", minimum=0)
    )
    supervised: bool = field(
        default=False,
        metadata=_about(
            "run the server under a small parent that starts it anew when it dies, on the same port"
        ),
    )
    strict: bool = field(
        default=False,
        metadata=_about(
            "end with an error when any model cannot be loaded, or its config.pbtxt sets what is "
            "not honoured"
        ),
    )
    explain: str = field(
        default="auto",
        metadata=_about("load originals for saliency where there are any", choices=("auto", "off")),
    )
    explain_backend: str = field(
        default="auto",
        metadata=_about(
            "what computes gradients: torch on the original, onnx on the gradient graph; auto is "
            "torch where it and the original are there",
            choices=("auto", "torch", "onnx"),
        ),
    )
    explain_threads: int = field(
        default=1, metadata=_about("threads that compute gradients", minimum=1, maximum=1024)
    )
    explain_memory_mib: int = field(
        default=1024,
        metadata=_about(
            "memory in MiB that one model's gradients may take beside its weights; steps are "
            "cut to fit, and a row that cannot is refused",
            minimum=1,
        ),
    )
    log_level: str = field(
        default="info",
        metadata=_about("least severe level to log", choices=("debug", "info", "warning", "error")),
    )
    log_format: str = field(
        default="text", metadata=_about("form of a log line", choices=("text", "json"))
    )

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):
            _check(setting, getattr(self, setting.name))
        if self.load_model and self.model_control_mode != "explicit":
            raise ConfigError(
                "load_model names what is loaded with model_control_mode explicit, "
                f"not with {self.model_control_mode}"
            )
        if self.max_waiting_mib < self.max_request_mib:
            raise ConfigError(
                f"max_waiting_mib {self.max_waiting_mib} must be at least max_request_mib "
                f"{self.max_request_mib}: the largest request would never be taken"
            )

    @classmethod
    def from_sources(cls, arguments: argparse.Namespace, environ: Mapping[str, str]) -> Self:
        """Builds the settings from flags, environment variables and the file they name.

        Args:
            arguments: what a parser prepared by `add_arguments` returned; other
                attributes of it are left alone.
            environ: the environment variables, usually `os.environ`.
        """
        given = vars(arguments)
        path = given.get("config") or environ.get(ENVIRONMENT_PREFIX + "CONFIG")
        values = _read_file(Path(path)) if path else {}
        hints = get_type_hints(cls)
        for name in _names():
            variable = ENVIRONMENT_PREFIX + name.upper()
            if environ.get(variable):
                values[name] = _parse(environ[variable], hints[name], source=variable)
            if given.get(name) is not None:
                values[name] = given[name]
        if "repository" not in values:
            raise ConfigError(
                "no model repository is given; name its folder on the command line, "
                "in EYESPOT_REPOSITORY or as `repository` in the configuration file"
            )
        return cls(**values)

    @property
    def max_waiting_bytes(self) -> int:
        """The bound on what waits, in bytes."""
        return self.max_waiting_mib * 1024 * 1024

    @property
    def concurrent_batches(self) -> int:
        """Batches of one model that run at once, with 0 replaced by what suits the machine."""
        if self.sessions:
            return self.sessions
        if self.device != "cpu" or self.low_memory:
            return 1
        # One more than the cores can run: it computes while another's results are handed on.
        return max(1, len(os.sched_getaffinity(0)) // self.intra_op_num_threads) + 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds one argument per setting; absent ones become None in the namespace."""
    hints = get_type_hints(ServerConfig)
    for setting in dataclasses.fields(ServerConfig):
        flag = "--" + setting.name.replace("_", "-")
        text = _help(setting).replace("%", "%%")
        if setting.name == "repository":
            parser.add_argument(
                "repository", nargs="?", default=None, type=Path, metavar="REPOSITORY", help=text
            )
        elif hints[setting.name] is bool:
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=None, help=text
            )
        else:
            parser.add_argument(
                flag,
                default=None,
                type=_argument_type(hints[setting.name]),
                choices=setting.metadata["choices"] or None,
                metavar=_metavar(setting, hints[setting.name]),
                help=text,
            )
    parser.add_argument(
        "--config",
        type=Path,
        default=None,
        metavar="FILE",
        help="TOML file with settings [EYESPOT_CONFIG]",
    )


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Names the variables that look like settings and are none."""
    known = {name.upper() for name in _names()} | _OTHER_VARIABLES
    found = (name for name in environ if name.startswith(ENVIRONMENT_PREFIX))
    return sorted(name for name in found if name.removeprefix(ENVIRONMENT_PREFIX) not in known)


def _help(setting: "dataclasses.Field[Any]") -> str:
    default = ""
    if setting.default is not dataclasses.MISSING and setting.default is not None:
        default = f" (default {setting.default})"
    return f"{setting.metadata['help']}{default} [{ENVIRONMENT_PREFIX}{setting.name.upper()}]"


def _metavar(setting: "dataclasses.Field[Any]", hint: Any) -> str | None:
    """What stands for a value in the help: short, so that columns hold; None lists the choices."""
    if setting.metadata["choices"]:
        return None
    if _argument_type(hint) is Path:
        return "FILE"
    last_word = setting.name.rpartition("_")[2].upper()
    return last_word if hint is str or last_word in _NUMBERS_BY_NAME else "N"


def _argument_type(hint: Any) -> type:
    converter: type = Path if hint == Path | None else hint
    return converter


def _names() -> list[str]:
    return [setting.name for setting in dataclasses.fields(ServerConfig)]


def _read_file(path: Path) -> dict[str, Any]:
    import difflib  # not for every start
    import tomllib

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"the configuration file {path} cannot be read: {error.strerror}"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error}") from error
    hints = get_type_hints(ServerConfig)
    values = {}
    for name, value in table.items():
        if isinstance(value, dict):
            raise ConfigError(
                f"{path}: [{name}] is a table, and no tables are expected: write the settings "
                "at the top level"
            )
        if name not in hints:
            nearest = difflib.get_close_matches(name.replace("-", "_"), hints, n=1, cutoff=0.5)
            meant = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ConfigError(f"{path}: unknown setting {name!r}{meant}")
        values[name] = _convert(value, hints[name], source=f"{path}: {name}")
    return values


def _convert(value: Any, hint: Any, *, source: str) -> Any:
    """Takes a TOML value, which has a type already; only int -> float and str -> Path widen."""
    if hint in (Path, Path | None) and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) is int:
        return float(value)
    if hint in (Path, Path | None) or type(value) is not hint:
        name = "str" if hint in (Path, Path | None) else hint.__name__
        raise ConfigError(f"{source} must be of type {name}, not {value!r}")
    return value


def _parse(text: str, hint: Any, *, source: str) -> Any:
    if hint in (Path, Path | None):
        return Path(text)
    if hint is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise ConfigError(f"{source} must be true or false, not {text!r}")
    try:
        return hint(text)
    except ValueError:
        raise ConfigError(f"{source} must be a number ({hint.__name__}), not {text!r}") from None


def _check(setting: "dataclasses.Field[Any]", value: Any) -> None:
    choices, minimum, maximum = (setting.metadata[key] for key in ("choices", "minimum", "maximum"))
    if choices and value not in choices:
        raise ConfigError(f"{setting.name} must be one of {', '.join(choices)}, not {value!r}")
    # Written so that NaN, which compares false with everything, is refused too.
    if minimum is not None and not value >= minimum:
        raise ConfigError(f"{setting.name} must be at least {minimum}, not {value}")
    if maximum is not None and not value <= maximum:
        raise ConfigError(f"{setting.name} must be at most {maximum}, not {value}")
