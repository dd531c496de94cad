"""A quantised version behind a server: what it says of itself, and what is explained."""

import shutil

import grpc
import numpy as np
import pytest

from eyespot.exporter.quantisation import Recipe, convert, quantize
from eyespot.server.app import Server
from eyespot.server.config import ServerConfig
from eyespot.v1 import explain_pb2, inference_pb2
from eyespot.v1.services import ExplainStub, InferenceStub


@pytest.fixture(scope="module")
def quantised(repository, calibration):
    return quantize(repository, "small", calibration=calibration, recipe=Recipe(even_if_worse=True))


async def test_the_original_is_explained_and_said_to_be_another_network(
    quantised, repository, rows
):
    server = Server(ServerConfig(repository=repository, port=0))
    await server.start()
    try:
        await server.load()
        async with grpc.aio.insecure_channel(server.address) as channel:
            index = await InferenceStub(channel).RepositoryIndex(
                inference_pb2.RepositoryIndexRequest()
            )
            entries = [model for model in index.models if not model.takes_pictures_for]
            made = {model.name: model.derivation for model in entries}
            assert made == {"small": "", "small_int8": "quantised from small version 1"}

            async def explain(name, method):
                request = explain_pb2.ExplainRequest(model_name=name, method=method)
                shape = [1, *rows.shape[1:]]
                request.inputs.add(name="image", datatype="UINT8", shape=shape)
                request.raw_input_contents.append(rows[:1].tobytes())
                return await ExplainStub(channel).Explain(request)

            before, after = [await explain(name, "saliency") for name in made]
            told = after.explained_original
            assert (told.model_name, told.model_version) == ("small", "1")
            assert (told.derivation, told.pictures) == ("quantised", 24)
            assert told.top1_agreement == quantised.agreement.top1_agreement
            assert after.raw_output_contents == before.raw_output_contents
            assert not before.HasField("explained_original")
            # Occlusion asks the served graph itself.
            occluded = await explain("small_int8", "occlusion")
            assert not occluded.HasField("explained_original")
    finally:
        await server.stop()


@pytest.mark.parametrize("backend", ["auto", "onnx"])
async def test_with_gradient_graphs_too(backend, gradient_export, tmp_path):
    repository = tmp_path / "models"
    shutil.copytree(gradient_export.path.parent.parent, repository)
    convert(repository, "branched", to="float16")
    server = Server(ServerConfig(repository=repository, port=0, explain_backend=backend))
    await server.start()
    try:
        await server.load()
        async with grpc.aio.insecure_channel(server.address) as channel:
            rows = np.random.default_rng(3).normal(size=(1, 3, 16, 16)).astype(np.float32)
            answers = []
            for name in ("branched", "branched_fp16"):
                request = explain_pb2.ExplainRequest(model_name=name, method="grad_cam")
                [tensor] = gradient_export.manifest.inputs
                request.inputs.add(name=tensor.name, datatype="FP32", shape=rows.shape)
                request.raw_input_contents.append(rows.tobytes())
                answers.append(await ExplainStub(channel).Explain(request))
        before, after = answers
        told = after.explained_original
        assert (told.model_name, told.derivation) == ("branched", "float16")
        assert after.raw_output_contents == before.raw_output_contents
        assert after.backend == before.backend == {"auto": "torch", "onnx": "onnxruntime"}[backend]
    finally:
        await server.stop()
