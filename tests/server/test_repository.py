"""Whole and broken repositories: what is served, what is not, and what is said about it."""

import logging

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.server.tiny import FLOAT, affine, graph, identity, status_of

from eyespot.server.errors import RepositoryError, StartError
from eyespot.server.repository import (
    BrokenModel,
    VersionFolder,
    check_files,
    read_labels,
    scan,
)
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.manifest import Manifest, Provenance, TensorSpec, write_manifest
from eyespot.v1.sha256 import sha256_of

ROW = np.float32([[1, 2, 3, 4]])
LABELLED = 'output { name: "y" label_filename: "labels.txt" }\nmax_batch_size: 2'


def write_manifest_of(folder, **files):
    spec = (TensorSpec("x", "FP32", ("batch", 4)),)
    manifest = Manifest(
        model_name=folder.parent.name,
        model_version=folder.name,
        provenance=Provenance("affine"),
        inputs=spec,
        outputs=spec,
        channel_axis=None,
        gradient_node=None,
        preprocessing=None,
        parity=None,
        opset_version=20,
        parameter_count=2,
        files=files,
        library_versions={},
    )
    write_manifest(manifest, folder / "manifest.json")


def _break_in_every_way(repository):
    """Adds one model per kind of damage; returns what its reason must contain."""
    file = repository.add("truncated") / "model.onnx"
    file.write_bytes(file.read_bytes()[:40])
    (repository.add("missing_model") / "model.onnx").unlink()
    wrong = repository.add("wrong_hash", config="max_batch_size: 2")
    write_manifest_of(wrong, **{"model.onnx": "0" * 64})
    lost = repository.add("lost_file", config="max_batch_size: 2")
    write_manifest_of(lost, **{"original.pt2": "0" * 64})
    outside = repository.add("outside", config="max_batch_size: 2")
    write_manifest_of(outside, **{"../config.pbtxt": "0" * 64})
    nul = repository.add("nul", config="max_batch_size: 2")
    write_manifest_of(nul, **{"a\0b": "0" * 64})
    bad_manifest = repository.add("bad_manifest", config="max_batch_size: 2")
    (bad_manifest / "manifest.json").write_text("{")
    no_config = repository.add("missing_config")
    write_manifest_of(no_config, **{"model.onnx": sha256_of(no_config / "model.onnx")})
    repository.add("no_labels", config=LABELLED)
    binary = repository.add("binary_labels", config=LABELLED)
    (binary.parent / "labels.txt").write_bytes(b"\xff\xfe\n")
    few = repository.add("few_labels", config=LABELLED)
    (few.parent / "labels.txt").write_text("one\ntwo\n")
    far = repository.add("far_labels", config=LABELLED.replace("labels.txt", "../far.txt"))
    (far.parent.parent / "far.txt").write_text("a\nb\nc\nd\n")
    repository.add("twins")
    repository.add("twins", version="01")
    (repository.path / "empty").mkdir()
    (repository.path / "empty" / "config.pbtxt").write_text("")
    repository.add("misspelt", config="max_batch: 4")
    repository.add("renamed", config='name: "other"')
    repository.add("tensorrt", config='platform: "tensorrt_plan"')
    repository.add("ensemble", config="ensemble_scheduling {}")
    repository.add("reshaped", config='input { name: "x" reshape { shape: 2 } }')
    repository.add("wrong_name", config='input { name: "z" data_type: TYPE_FP32 dims: 4 }')
    repository.add("wrong_type", config='input { name: "x" data_type: TYPE_INT8 dims: 4 }\n'
                   "max_batch_size: 2")  # fmt: skip
    repository.add("wrong_dims", config='input { name: "x" dims: 5 }\nmax_batch_size: 2')
    repository.add("preferred", config="max_batch_size: 2\n"
                   "dynamic_batching { preferred_batch_size: 4 }")  # fmt: skip
    repository.add("fixed", identity(FLOAT, [1, 4]), config="max_batch_size: 2")
    repository.add("policy", config="version_policy { specific { versions: 5 } }")
    repository.add("path", config='default_model_filename: "../x.onnx"')
    repository.add("escaping", _with_external_data("../weights.bin"))
    (repository.path / "escaping" / "weights.bin").write_bytes(bytes(16))
    fails = graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        {"x": (FLOAT, ["batch", 4])},
        {"y": (FLOAT, ["batch", 3])},
        {"shape": np.int64([-1, 3])},
    )
    repository.add("failing", fails, config="max_batch_size: 2")
    return {
        "truncated": "model.onnx is no ONNX graph",
        "missing_model": "model.onnx cannot be read: No such file",
        "wrong_hash": "..., manifest.json says 000000000000...: it was changed",
        "lost_file": "original.pt2 cannot be read: No such file",
        "outside": "'../config.pbtxt', which leaves the model's folder",
        "nul": r"'a\x00b', which leaves the model's folder",
        "bad_manifest": "manifest.json cannot be read",
        "missing_config": "config.pbtxt is missing",
        "no_labels": "labels.txt cannot be read",
        "binary_labels": "labels.txt cannot be read",
        "few_labels": "2 labels for the 4 classes of 'y'",
        "far_labels": "leaves the model's folder",
        "twins": "'01' and '1' are the same version 1",
        "empty": "no version folder",
        "misspelt": "max_batch",
        "renamed": "names the model 'other', its folder 'renamed'",
        "tensorrt": "tensorrt_plan",
        "ensemble": "ensemble_scheduling",
        "reshaped": "input.reshape",
        "wrong_name": "names 'z', the graph has ['x']",
        "wrong_type": "gives 'x' INT8, the graph FP32",
        "wrong_dims": "gives 'x' the shape [-1, 5], the graph [-1, 4]",
        "preferred": "preferred_batch_size 4",
        "fixed": "fixes the first dimension of 'x' to 1",
        "policy": "asks for version 5",
        "path": "plain file name",
        "escaping": "'../weights.bin', which is no path within the model's folder",
        "failing": "fails on zeros",
    }


def _with_external_data(location):
    model = affine()
    weights = onnx.TensorProto(
        name="weights", data_type=FLOAT, dims=[4], data_location=onnx.TensorProto.EXTERNAL
    )
    for key, value in (("location", location), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    model.graph.initializer.append(weights)
    model.graph.node[1].input[1] = "weights"
    return model


async def test_what_is_broken_says_why_and_stops_nothing_else(repository, serving, caplog):
    reasons = _break_in_every_way(repository)
    repository.add("good")
    with caplog.at_level(logging.ERROR, "eyespot.server"):
        async with serving() as (_, client):
            assert (await client.inference.ServerReady(pb.ServerReadyRequest())).ready
            assert (await client.infer("good", x=ROW))["y"].tolist() == [[3.0, 5.0, 7.0, 9.0]]
            index = await client.inference.RepositoryIndex(pb.RepositoryIndexRequest())
            told = {entry.name: entry for entry in index.models}
            assert set(told) == {*reasons, "good"}
            assert told["good"].state == "READY"
            log = "\n".join(record.getMessage() for record in caplog.records)
            for name, reason in reasons.items():
                assert told[name].state == "UNAVAILABLE", name
                assert reason in told[name].reason, (name, told[name].reason)
                assert told[name].reason in log
                ready = await client.inference.ModelReady(pb.ModelReadyRequest(name=name))
                assert not ready.ready
                code, details = await status_of(client.infer(name, x=ROW))
                assert code is grpc.StatusCode.UNAVAILABLE, name
                assert reason in details
            only_ready = await client.inference.RepositoryIndex(
                pb.RepositoryIndexRequest(ready=True)
            )
            assert [entry.name for entry in only_ready.models] == ["good"]


async def test_right_hashes_are_accepted(repository, serving):
    folder = repository.add("whole", config="max_batch_size: 2")
    write_manifest_of(folder, **{"model.onnx": sha256_of(folder / "model.onnx")})
    async with serving() as (_, client):
        await client.infer("whole", x=ROW)


async def test_external_data_beside_the_model_is_read(repository, serving):
    folder = repository.add("external", _with_external_data("weights.bin"))
    (folder / "weights.bin").write_bytes(np.float32([1, 2, 3, 4]).tobytes())
    async with serving() as (_, client):
        answer = await client.infer("external", x=np.zeros((1, 4), np.float32))
    assert answer["y"].tolist() == [[1.0, 2.0, 3.0, 4.0]]


async def test_missing_config_is_completed_from_the_graph(repository, serving):
    repository.add("batched")
    repository.add("fixed", identity(TensorProto.INT64, [2, 3]))
    repository.add("partial", config='max_batch_size: 8\noutput { name: "y" }')
    repository.add("unbatched", config="max_batch_size: 0")
    async with serving() as (_, client):
        configs = {}
        for name in ("batched", "fixed", "partial", "unbatched"):
            answer = await client.inference.ModelConfig(pb.ModelConfigRequest(name=name))
            configs[name] = answer.config
    # Triton completes a model with a batch dimension to 4 rows and dynamic batching.
    assert configs["batched"].max_batch_size == 4
    assert configs["batched"].HasField("dynamic_batching")
    assert [list(entry.dims) for entry in configs["batched"].input] == [[4]]
    assert configs["fixed"].max_batch_size == 0
    assert [list(entry.dims) for entry in configs["fixed"].input] == [[2, 3]]
    assert configs["fixed"].input[0].data_type == 9  # TYPE_INT64
    assert configs["partial"].max_batch_size == 8
    assert not configs["partial"].HasField("dynamic_batching")
    assert [(entry.name, list(entry.dims)) for entry in configs["partial"].input] == [("x", [4])]
    assert configs["unbatched"].max_batch_size == 0
    assert [list(entry.dims) for entry in configs["unbatched"].input] == [[-1, 4]]


async def test_what_is_not_honoured_is_named_once(repository, serving, caplog):
    repository.add(
        "net",
        config="max_batch_size: 2\n"
        "dynamic_batching { max_queue_delay_microseconds: 1 }\n"
        "optimization { graph { level: 1 } priority: PRIORITY_MAX }\n"
        "instance_group { count: 1 kind: KIND_CPU passive: true }\n"
        'parameters { key: "gpu_mem_limit" value { string_value: "9" } }'
        'parameters { key: "of_a_caller" value { string_value: "9" } }',
    )
    with caplog.at_level(logging.WARNING, "eyespot.server"):
        async with serving():
            pass
    (record,) = (r for r in caplog.records if r.levelno == logging.WARNING)
    assert record.getMessage() == (
        "model 'net': config.pbtxt sets what Eyespot does not honour: "
        "instance_group.passive, optimization.priority, parameters.gpu_mem_limit"
    )


def _versions(repository):
    return [(found.model_name, found.model_version) for found in scan(repository.path)]


def test_versions_are_chosen_by_policy(repository):
    for version in ("2", "9", "10", "0", "03", "old", "-1"):
        repository.add("latest", version=version)
    for version in ("1", "2", "3"):
        repository.add(
            "two", version=version, config="version_policy { latest { num_versions: 2 } }"
        )
        repository.add("every", version=version, config="version_policy { all {} }")
        repository.add(
            "some", version=version, config="version_policy { specific { versions: [3, 1] } }"
        )
    (repository.path / ".writing").mkdir()
    (repository.path / "README.md").write_text("no model")
    assert _versions(repository) == [
        ("every", "1"),
        ("every", "2"),
        ("every", "3"),
        ("latest", "10"),
        ("some", "1"),
        ("some", "3"),
        ("two", "2"),
        ("two", "3"),
    ]


async def test_calls_without_a_version_get_the_latest(repository, serving):
    for version, scale in (("1", 1.0), ("2", 2.0), ("10", 10.0)):
        repository.add(
            "net", affine(scale=scale), version=version, config="version_policy { all {} }"
        )
    async with serving() as (_, client):
        assert (await client.infer("net", x=ROW))["y"][0, 0] == 11.0
        for version, value in (("1", 2.0), ("2", 3.0), ("10", 11.0)):
            request = pb.ModelInferRequest(model_name="net", model_version=version)
            request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
            request.raw_input_contents.append(ROW.tobytes())
            answer = await client.inference.ModelInfer(request)
            assert answer.model_version == version
            assert np.frombuffer(answer.raw_output_contents[0], "<f4")[0] == value
        metadata = await client.inference.ModelMetadata(pb.ModelMetadataRequest(name="net"))
        assert metadata.versions == ["1", "2", "10"]


async def test_one_broken_version_leaves_the_others(repository, serving):
    repository.add("net", config="version_policy { all {} }")
    (repository.add("net", version="2", config="version_policy { all {} }") / "model.onnx").unlink()
    async with serving() as (_, client):
        assert (await client.infer("net", x=ROW))["y"][0, 0] == 3.0
        ready = await client.inference.ModelReady(pb.ModelReadyRequest(name="net", version="2"))
        assert not ready.ready


def test_other_file_names_are_honoured(repository):
    folder = repository.add("net", config='default_model_filename: "best.onnx"')
    (found,) = scan(repository.path)
    assert isinstance(found, VersionFolder)
    assert found.model_path == folder / "best.onnx"


def test_broken_models_of_a_scan_carry_their_reason(repository):
    (repository.path / "empty").mkdir()
    (repository.path / "empty" / "config.pbtxt").write_text("")
    assert scan(repository.path) == [
        BrokenModel("empty", "", "there is no version folder; versions are called 1, 2, 3, ...")
    ]


def test_external_data_without_a_hash_is_refused(repository):
    folder = repository.add("net", _with_external_data("weights.bin"), config="max_batch_size: 2")
    (folder / "weights.bin").write_bytes(bytes(16))
    (found,) = scan(repository.path)
    assert check_files(found) is None
    write_manifest_of(folder, **{"model.onnx": sha256_of(folder / "model.onnx")})
    with pytest.raises(RepositoryError, match=r"weights in weights\.bin, of which manifest\.json"):
        check_files(found)


def test_plain_folders_are_no_models(repository, caplog):
    (repository.path / "pictures" / "cats").mkdir(parents=True)
    with caplog.at_level(logging.INFO, "eyespot.server"):
        assert scan(repository.path) == []
    (record,) = caplog.records
    assert "pictures is no model" in record.getMessage()
    assert record.levelno == logging.INFO


def test_a_hash_is_shown_by_its_first_digits(repository):
    folder = repository.add("net", config="max_batch_size: 2")
    (folder / "model.onnx").write_bytes(b"abc")  # the example of FIPS 180-2, appendix B.1
    write_manifest_of(folder, **{"model.onnx": "123456789abcdef" + "0" * 49})
    (found,) = scan(repository.path)
    with pytest.raises(RepositoryError, match=r"SHA-256 ba7816bf8f01\.\.\., manifest\.json says "
                       r"123456789abc\.\.\.: it was changed"):  # fmt: skip
        check_files(found)


async def _last_line(serving, caplog):
    caplog.clear()
    with caplog.at_level(logging.INFO, "eyespot.server"):
        async with serving():
            return caplog.records[-1].getMessage()


async def test_without_a_ready_model_the_log_ends_with_a_hint(repository, serving, caplog):
    where = repository.path
    assert await _last_line(serving, caplog) == (
        f"no model is ready: nothing was found, expected {where}/<model>/<version>/model.onnx"
    )
    (where / "pictures" / "cats").mkdir(parents=True)
    inner = repository.add("repository/net")
    assert await _last_line(serving, caplog) == f"no model is ready; is {where}/repository meant?"
    repository.path = inner.parent  # the server is given the folder of one model
    caplog.clear()
    with pytest.raises(StartError, match=f"is a model, where .* is expected: {where}/repository$"):
        await _last_line(serving, caplog)
    assert "is no model" not in caplog.text  # of its versions
    repository.path = where
    (repository.add("broken") / "model.onnx").unlink()
    (where / "repository").rename(where / ".repository")
    assert await _last_line(serving, caplog) == "no model is ready: the reasons are above"
    repository.add("good")
    assert (await _last_line(serving, caplog)).startswith("serving on 127.0.0.1:")


def test_labels_are_lines(tmp_path):
    (tmp_path / "labels.txt").write_text("tench\ngoldfish, Carassius\n", encoding="utf-8")
    assert read_labels(tmp_path, "labels.txt") == ("tench", "goldfish, Carassius")
    with pytest.raises(RepositoryError, match=r"none\.txt cannot be read"):
        read_labels(tmp_path, "none.txt")
