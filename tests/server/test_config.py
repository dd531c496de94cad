"""Settings: which source wins, and what is impossible."""

import argparse
import dataclasses
from pathlib import Path

import pytest

from eyespot.server.config import ServerConfig, add_arguments, unknown_variables
from eyespot.server.errors import ConfigError

CHOICES = {each.name for each in dataclasses.fields(ServerConfig) if each.metadata["choices"]}


def _read(*flags, environ=None):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return ServerConfig.from_sources(parser.parse_args([str(f) for f in flags]), environ or {})


def test_the_help_has_short_words_for_values():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = {each.dest: each.metavar for each in parser._actions if each.nargs != 0}
    unknown = [name for name, word in words.items() if not word and name not in CHOICES]
    assert unknown == []
    assert max(len(word) for word in words.values() if word) <= len("REPOSITORY")
    assert (words["token_file"], words["sessions"], words["max_request_mib"]) == (
        "FILE",
        "N",
        "MIB",
    )
    assert (words["admin_port"], words["drain_seconds"]) == ("PORT", "SECONDS")


def test_flag_outweighs_variable_outweighs_file_outweighs_default(tmp_path):
    file = tmp_path / "eyespot.toml"
    file.write_text('repository = "from_file"\nport = 1\nsessions = 1\ndrain_seconds = 5\n')
    environ = {"EYESPOT_PORT": "2", "EYESPOT_SESSIONS": "2", "EYESPOT_CONFIG": str(file)}
    config = _read("--port", 3, environ=environ)
    assert config.port == 3
    assert config.sessions == 2
    assert config.drain_seconds == 5.0
    assert config.repository == Path("from_file")
    assert config.host == "127.0.0.1"
    assert _read("elsewhere", "--config", file).repository == Path("elsewhere")


# One value per setting that is not its default, as text and as what it becomes.
VALUES = {
    "repository": ("models", Path("models")),
    "host": ("::1", "::1"),
    "port": ("0", 0),
    "port_file": ("port", Path("port")),
    "tls_certificate": ("chain.pem", Path("chain.pem")),
    "tls_key": ("key.pem", Path("key.pem")),
    "tls_client_ca": ("ca.pem", Path("ca.pem")),
    "token_file": ("tokens.toml", Path("tokens.toml")),
    "admin_port": ("8003", 8003),
    "admin_host": ("::1", "::1"),
    "settings_calls": ("true", True),
    "max_requests_per_second": ("2.5", 2.5),
    "max_concurrent_streams": ("7", 7),
    "device": ("cuda", "cuda"),
    "intra_op_num_threads": ("2", 2),
    "sessions": ("3", 3),
    "max_request_mib": ("8", 8),
    "max_queue_size": ("9", 9),
    "max_waiting_mib": ("99", 99),
    "decode_images": ("false", False),
    "low_memory": ("true", True),
    "model_cache": ("kept", "kept"),
    "model_control_mode": ("explicit", "explicit"),
    "load_model": ("a,b", "a,b"),
    "repository_poll_seconds": ("2.5", 2.5),
    "load_files": ("true", True),
    "shared_memory": ("true", True),
    "shared_memory_prefix": ("eyespot-", "eyespot-"),
    "server_id": ("triton", "triton"),
    "trace_endpoint": ("http://collector:4317", "http://collector:4317"),
    "trace_rate": ("100", 100),
    "metrics_port": ("8002", 8002),
    "drain_seconds": ("1.5", 1.5),
    "supervised": ("true", True),
    "strict": ("true", True),
    "explain": ("off", "off"),
    "explain_backend": ("onnx", "onnx"),
    "explain_threads": ("2", 2),
    "explain_memory_mib": ("64", 64),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
}


def test_every_field_is_a_flag_a_variable_and_a_key(tmp_path):
    assert set(VALUES) == {setting.name for setting in dataclasses.fields(ServerConfig)}
    flags = []
    for name, (text, value) in VALUES.items():
        flag = ("--no-" if value is False else "--") + name.replace("_", "-")
        flags += [text] if name == "repository" else [flag]
        flags += [] if name == "repository" or isinstance(value, bool) else [text]
    from_flags = _read(*flags)
    from_variables = _read(
        environ={f"EYESPOT_{n.upper()}": text for n, (text, _) in VALUES.items()}
    )
    file = tmp_path / "all.toml"
    lines = []
    for name, (text, value) in VALUES.items():
        lines.append(f"{name} = {text if isinstance(value, int | float) else repr(text)}")
    file.write_text("\n".join(lines))
    from_file = _read("--config", file)
    for config in (from_flags, from_variables, from_file):
        assert dataclasses.asdict(config) == {name: value for name, (_, value) in VALUES.items()}


def test_switches_are_turned_off_by_a_flag():
    assert _read("r", environ={"EYESPOT_STRICT": "yes"}).strict
    assert not _read("r", "--no-strict", environ={"EYESPOT_STRICT": "yes"}).strict


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("drain_second = 1", "unknown setting 'drain_second'; did you mean 'drain_seconds'"),
        ("max-queue-size = 1", "did you mean 'max_queue_size'"),
        ("port = 'x'", "port must be of type int, not 'x'"),
        ("port = true", "port must be of type int, not True"),
        ("strict = 1", "strict must be of type bool, not 1"),
        ("repository = 1", "repository must be of type str, not 1"),
        ("port = ", "cannot be read"),
        (
            "[server]\nport = 1",
            r"\[server\] is a table, and no tables are expected: write the "
            "settings at the top level",
        ),
    ],
)
def test_file_with_mistakes(tmp_path, text, message):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        _read("r", "--config", file)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"EYESPOT_PORT": "http"}, "EYESPOT_PORT must be a number"),
        ({"EYESPOT_PORT": "70000"}, "port must be at most 65535, not 70000"),
        ({"EYESPOT_SESSIONS": "-1"}, "sessions must be at least 0"),
        ({"EYESPOT_STRICT": "maybe"}, "EYESPOT_STRICT must be true or false"),
        ({"EYESPOT_DEVICE": "tpu"}, "device must be one of cpu, cuda, not 'tpu'"),
        ({"EYESPOT_DRAIN_SECONDS": "nan"}, "drain_seconds must be at least 0, not nan"),
        ({"EYESPOT_CONFIG": "/no/such/file"}, "/no/such/file cannot be read: No such file or dir"),
    ],
)
def test_variables_with_mistakes(environ, message):
    with pytest.raises(ConfigError, match=message):
        _read("r", environ=environ)


def test_variables_that_are_no_settings_are_found():
    environ = {f"EYESPOT_{name.upper()}": text for name, (text, _) in VALUES.items()}
    environ |= dict.fromkeys(("EYESPOT_CACHE", "EYESPOT_SERVER", "EYESPOT_DATA"), "x")
    environ |= {"EYESPOT_CONFIG": "x", "EYESPOT_PROT": "1", "HOME": "x", "EYESPOT_A": "1"}
    assert unknown_variables(environ) == ["EYESPOT_A", "EYESPOT_PROT"]


def test_repository_must_be_given():
    with pytest.raises(ConfigError, match="no model repository is given"):
        _read()


def test_batches_at_once_follow_the_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    repository = Path("r")
    assert ServerConfig(repository=repository).concurrent_batches == 9
    assert ServerConfig(repository=repository, intra_op_num_threads=3).concurrent_batches == 3
    assert ServerConfig(repository=repository, intra_op_num_threads=9).concurrent_batches == 2
    assert ServerConfig(repository=repository, sessions=5).concurrent_batches == 5
    assert ServerConfig(repository=repository, device="cuda").concurrent_batches == 1
    assert ServerConfig(repository=repository, low_memory=True).concurrent_batches == 1
