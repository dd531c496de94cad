"""`eyespot tune`: what it writes into config.pbtxt, and one small run against a real server."""

import pytest
from google.protobuf import text_format
from tests.server.tiny import Repository

from eyespot.cli import tune_config
from eyespot.cli.tune_config import config_diff, config_text, replace_text, setting_of, tuned
from eyespot.cli.tune_search import Setting
from eyespot.v1.model_config_pb2 import ModelConfig

CONFIG = """
name: "digits"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 4 }
instance_group { count: 3 kind: KIND_CPU }
instance_group { count: 2 kind: KIND_CPU }
dynamic_batching { preserve_ordering: true preferred_batch_size: 4 }
parameters { key: "enable_mem_arena" value { string_value: "0" } }
"""


@pytest.fixture
def config():
    return text_format.Parse(CONFIG, ModelConfig())


def test_the_setting_in_force_is_read(config):
    assert setting_of(config, default_sessions=7, default_threads=1) == Setting(5, 1, 8, 0)
    config.parameters["intra_op_thread_count"].string_value = "2"
    config.dynamic_batching.max_queue_delay_microseconds = 300
    assert setting_of(config, default_sessions=7, default_threads=1) == Setting(5, 2, 8, 300)
    assert setting_of(ModelConfig(), default_sessions=7, default_threads=4) == Setting(7, 4, 0, 0)


def test_everything_else_stays(config):
    changed = text_format.Parse(
        """
        name: "digits"
        max_batch_size: 4
        input { name: "x" data_type: TYPE_FP32 dims: 4 }
        instance_group { count: 2 kind: KIND_CPU }
        dynamic_batching {
          preserve_ordering: true preferred_batch_size: 4 max_queue_delay_microseconds: 500
        }
        parameters { key: "enable_mem_arena" value { string_value: "0" } }
        parameters { key: "intra_op_thread_count" value { string_value: "1" } }
        """,
        ModelConfig(),
    )
    before = config_text(config)
    assert tuned(config, Setting(2, 1, 4, 500)) == changed
    assert config_text(config) == before


def test_requests_that_never_join_get_no_batching(config):
    config.ClearField("dynamic_batching")
    config.max_batch_size = 0
    changed = tuned(config, Setting(1, 2, 0, 0))
    assert not changed.HasField("dynamic_batching")
    assert changed.max_batch_size == 0


def test_a_file_is_replaced_whole_and_keeps_its_rights(tmp_path):
    path = tmp_path / "config.pbtxt"
    path.write_text("a: 1\n")
    path.chmod(0o640)
    assert "-a: 1\n+a: 2\n" in config_diff(path, "a: 2\n")
    replace_text(path, "a: 2\n")
    assert path.read_text() == "a: 2\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_replaced_stays_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "config.pbtxt"
    path.write_text("a: 1\n")

    def refuse(*_):
        raise OSError("no")

    monkeypatch.setattr(tune_config.Path, "replace", refuse)
    with pytest.raises(OSError, match="no"):
        replace_text(path, "a: 2\n")
    assert path.read_text() == "a: 1\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def repository(tmp_path):
    path = tmp_path / "repository"
    path.mkdir()
    Repository(path).add("tiny", config="max_batch_size: 2\ndynamic_batching {}\n")
    return path


def test_a_run_writes_what_it_has_chosen(run, repository, tmp_path):
    picture = tmp_path / "picture.png"
    ran = run("tune", repository / "tiny", "--max-latency-ms", 60_000, "--seconds", 0.001,
              "--output", picture, "--json")  # fmt: skip
    assert ran.code == 0, ran.err
    chosen = ran.json["chosen"]["setting"]
    assert chosen == ran.json["now"]  # there was time for nothing else
    assert ran.json["is_written"]
    written = text_format.Parse((repository / "tiny" / "config.pbtxt").read_text(), ModelConfig())
    assert written.instance_group[0].count == chosen["sessions"]
    assert written.max_batch_size == 2
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_model_that_is_not_there(run, repository):
    ran = run("tune", "other", "--repository", repository, "--max-latency-ms", 5)
    assert ran.code == 1
    assert "there are: tiny" in ran.err
    ran = run("tune", repository, "--max-latency-ms", 5)
    assert "is a repository; name one of its models: tiny" in ran.err
