"""A model under load, in a real server: one process that loads it anew for each setting.

The server takes the configuration with the call that loads the model, so nothing in the
repository is touched while settings are tried, and what is measured is all that a caller waits for.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import json_format

from eyespot.cli.errors import CommandError
from eyespot.cli.server_process import running_server
from eyespot.cli.tune_search import Measurement, Setting
from eyespot.v1 import inference_pb2
from eyespot.v1.manifest import MANIFEST_FILE, Manifest, read_manifest
from eyespot.v1.model_config_pb2 import ModelConfig
from eyespot.v1.services import INFERENCE_SERVICE, InferenceStub
from eyespot.v1.tensors import DATATYPES, encode

# A 99th percentile of less says nothing.
_LEAST_CALLS = 20
_LOAD_SECONDS = 300.0


class LoadedModel:
    """One model in a server of its own."""

    def __init__(self, address: str, name: str, folder: Path) -> None:
        self._address = address
        self._name = name
        self._folder = folder
        self._request = b""

    def load(self, config: ModelConfig) -> None:
        """Load the model with a configuration.

        Raises:
            CommandError: The server cannot serve it so.
        """
        request = inference_pb2.RepositoryModelLoadRequest(model_name=self._name)
        request.parameters["config"].string_param = json_format.MessageToJson(
            config, preserving_proto_field_name=True
        )
        with grpc.insecure_channel(self._address) as channel:
            stub = InferenceStub(channel)
            try:
                stub.RepositoryModelLoad(request, timeout=_LOAD_SECONDS)
                metadata = stub.ModelMetadata(
                    inference_pb2.ModelMetadataRequest(name=self._name), timeout=_LOAD_SECONDS
                )
            except grpc.RpcError as error:
                raise CommandError(f"{self._name} cannot be loaded: {_details(error)}") from error
        if not self._request:
            manifest = _newest_manifest(self._folder)
            is_batched = config.max_batch_size > 0
            self._request = _one_row(self._name, metadata.inputs, manifest, is_batched=is_batched)

    def measure(self, setting: Setting, clients: int, *, seconds: float) -> Measurement:
        """Let clients call for so long, each again when it is answered.

        Raises:
            CommandError: A call fails.
        """
        try:
            latencies, took = asyncio.run(
                call_in_closed_loop(self._address, self._request, clients=clients, seconds=seconds)
            )
        except grpc.RpcError as error:
            raise CommandError(f"a call of {self._name} failed: {_details(error)}") from error
        return Measurement(
            setting,
            clients,
            len(latencies) / took,
            1000 * quantile(latencies, 0.5),
            1000 * quantile(latencies, 0.99),
        )


@contextmanager
def loaded_model(repository: Path, name: str, *, log: Path) -> Iterator[LoadedModel]:
    """Start a server with one model of a repository.

    Args:
        repository: Only read.
        name: Of the model.
        log: Receives what the server writes.

    Raises:
        CommandError: It cannot be served.
    """
    options = ["--model-control-mode", "explicit", "--load-model", name, "--explain", "off"]
    with running_server(repository, log=log, options=options) as server:
        yield LoadedModel(server.address, name, repository / name)


async def call_in_closed_loop(
    address: str, request: bytes, *, clients: int, seconds: float
) -> tuple[list[float], float]:
    """Call from several connections at once; each calls again when it is answered.

    Returns:
        How long each answer took, sorted, and how long all of it took; in seconds.
    """
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    latencies: list[float] = []
    end = math.inf

    async def one_client(infer: Any) -> None:
        done = 0
        while time.perf_counter() < end or done * clients < _LEAST_CALLS:
            began = time.perf_counter()
            await infer(request)
            latencies.append(time.perf_counter() - began)
            done += 1

    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(clients)]
    try:
        calls: list[Any] = [
            channel.unary_unary(f"/{INFERENCE_SERVICE}/ModelInfer") for channel in channels
        ]
        await asyncio.gather(*(call(request) for call in calls))  # to connect takes its time, too
        began = time.perf_counter()
        end = began + seconds
        await asyncio.gather(*map(one_client, calls))
        return sorted(latencies), time.perf_counter() - began
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of all does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _one_row(
    name: str, inputs: Sequence[Any], manifest: Manifest | None, *, is_batched: bool
) -> bytes:
    """A request of one row: zeros, or numbers from 0 to 1 where the input is of fractions."""
    generator = np.random.default_rng(0)
    request = inference_pb2.ModelInferRequest(model_name=name)
    for tensor in inputs:
        shape = _usual_shape(tensor, manifest, is_batched=is_batched)
        dtype = DATATYPES[tensor.datatype].numpy
        if dtype.kind == "O":
            raise CommandError(f"input {tensor.name!r} takes texts, and no usual ones are known")
        array = generator.random(shape) if dtype.kind == "f" else np.zeros(shape)
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
        request.raw_input_contents.append(encode(array.astype(dtype), tensor.datatype))
    return request.SerializeToString()


def _usual_shape(tensor: Any, manifest: Manifest | None, *, is_batched: bool) -> list[int]:
    shape = list(tensor.shape)
    if is_batched:
        shape[0] = 1
    if manifest is not None:
        axes = {axis.name: axis.example for axis in manifest.dynamic_axes}
        told = next((spec.shape for spec in manifest.inputs if spec.name == tensor.name), ())
        if len(told) == len(shape):
            shape = [
                axes.get(str(named), size) if size < 0 else size
                for size, named in zip(shape, told, strict=True)
            ]
    if -1 in shape:
        raise CommandError(
            f"input {tensor.name!r} takes any size, and no manifest tells a usual one; "
            "`eyespot export` and `eyespot add` write it"
        )
    return shape


def _newest_manifest(folder: Path) -> Manifest | None:
    versions = [path for path in folder.iterdir() if path.name.isdigit()]
    newest = max(versions, key=lambda path: int(path.name))  # the server has found one
    path = newest / MANIFEST_FILE
    return read_manifest(path) if path.exists() else None


def _details(error: grpc.RpcError) -> str:
    return str(getattr(error, "details", lambda: error)())
