"""Triton's words for sessions, and what ONNX Runtime is told."""

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tests.server.test_model import _load
from tests.server.tiny import affine

from eyespot.server.errors import RepositoryError
from eyespot.server.session import Session, SessionSettings, _options
from eyespot.server.session_config import read_session_settings
from eyespot.v1 import model_config_pb2

DEFAULTS = SessionSettings(intra_op_num_threads=3)


def read(text, defaults=DEFAULTS):
    message = text_format.Parse(text, model_config_pb2.ModelConfig())
    return read_session_settings(message, defaults)


def parameter(name, value):
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}'


def test_what_is_left_open_is_the_servers():
    assert read("") == DEFAULTS
    assert read(parameter("preprocessing.mean", "[0.5]")) == DEFAULTS


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        (parameter("intra_op_thread_count", "2"), "intra_op_num_threads", 2),
        (parameter("inter_op_thread_count", "4"), "inter_op_num_threads", 4),
        (parameter("execution_mode", "1"), "is_parallel", True),
        (parameter("enable_mem_arena", "0"), "enable_cpu_mem_arena", False),
        (parameter("enable_mem_pattern", "0"), "enable_mem_pattern", False),
        ("optimization { graph { level: -1 } }", "optimization", "basic"),
        ("optimization { graph { level: 1 } }", "optimization", "extended"),
        ("optimization { graph { level: 2 } }", "optimization", "none"),
        ("optimization { graph { level: 0 } }", "optimization", "all"),
    ],
)
def test_each_word_sets_its_option(text, field, value):
    assert getattr(read(text), field) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (parameter("intra_op_thread_count", "many"), "intra_op_thread_count cannot be 'many'"),
        (parameter("intra_op_thread_count", "-1"), "cannot be '-1'"),
        (parameter("execution_mode", "2"), "execution_mode cannot be '2'"),
        ("optimization { graph { level: 7 } }", "level 7 is none of"),
        ("instance_group { kind: KIND_GPU }", "start the server with --device cuda"),
        ("instance_group { gpus: [0] }", "start the server with --device cuda"),
        ("instance_group { kind: KIND_MODEL }", "KIND_MODEL"),
        ("instance_group { kind: KIND_CPU } instance_group { kind: KIND_GPU }", "several kinds"),
    ],
)
def test_what_cannot_be_is_told(text, told):
    with pytest.raises(RepositoryError, match=told):
        read(text)


def test_the_device_of_one_model():
    cuda = SessionSettings(device="cuda")
    assert read("instance_group { kind: KIND_CPU }", cuda).device == "cpu"
    on_second = read("instance_group { kind: KIND_GPU gpus: [1] }", cuda)
    assert (on_second.device, on_second.device_id) == ("cuda", 1)
    assert read("instance_group { kind: KIND_AUTO count: 2 }") == DEFAULTS


def test_the_runtime_is_told():
    settings = SessionSettings(
        intra_op_num_threads=2,
        inter_op_num_threads=3,
        is_parallel=True,
        optimization="basic",
        enable_cpu_mem_arena=False,
        enable_mem_pattern=False,
    )
    options = _options(onnxruntime, settings)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 3)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert options.graph_optimization_level == level
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern


async def test_a_model_with_words_of_its_own_is_served(repository, serving):
    words = [("intra_op_thread_count", "2"), ("execution_mode", "1"), ("enable_mem_arena", "0")]
    config = "max_batch_size: 4\n" + "\n".join(parameter(*word) for word in words)
    repository.add("net", affine(), config=config + "\noptimization { graph { level: 2 } }")
    repository.add("odd", affine(), config=parameter("execution_mode", "x"))
    async with serving() as (server, client):
        assert (await client.infer("net", x=np.ones((1, 4), np.float32)))["y"][0, 0] == 3.0
        reasons = {entry.model_name: entry.reason for entry in server.dataplane.index()}
    assert reasons == {"net": "", "odd": "the parameter execution_mode cannot be 'x'"}


def test_strict_refuses_what_is_not_honoured(repository):
    repository.add("net", config="optimization { priority: PRIORITY_MAX }")
    assert _load(repository)[0].config.unhonoured == ("optimization.priority",)
    with pytest.raises(RepositoryError, match=r"does not honour: optimization\.priority"):
        _load(repository, strict=True)


def test_a_session_opens_without_settings(tmp_path, repository):
    folder = repository.add("net", affine())
    assert Session.open(folder / "model.onnx").inputs[0].name == "x"
