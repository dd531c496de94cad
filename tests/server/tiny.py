"""Tiny ONNX models in model repositories, and raw calls to the servers in front of them."""

import itertools
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.services import ExplainStub, InferenceStub
from eyespot.v1.tensors import datatype_of, decode, encode

FLOAT = TensorProto.FLOAT


def graph(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, tuple[int, list[Any]]],
    initializers: dict[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """An ONNX model of a few nodes."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()],
            [helper.make_tensor_value_info(n, t, s) for n, (t, s) in outputs.items()],
            [onnx.numpy_helper.from_array(a, n) for n, a in (initializers or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


def identity(onnx_type: int, shape: list[Any]) -> onnx.ModelProto:
    """y = x of any type."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return graph([node], {"x": (onnx_type, shape)}, {"y": (onnx_type, shape)})


def affine(width: int = 4, scale: float = 2.0, offset: float = 1.0) -> onnx.ModelProto:
    """y = scale * x + offset, row by row."""
    return graph(
        [
            helper.make_node("Mul", ["x", "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "offset"], ["y"]),
        ],
        {"x": (FLOAT, ["batch", width])},
        {"y": (FLOAT, ["batch", width])},
        {"scale": np.float32(scale), "offset": np.float32(offset)},
    )


def laborious(size: int, repetitions: int) -> onnx.ModelProto:
    """y = x times a matrix, again and again: a model that keeps its session busy."""
    weights = np.eye(size, dtype=np.float32)[::-1].copy()
    names = ["x", *(f"h{i}" for i in range(repetitions - 1)), "y"]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in itertools.pairwise(names)]
    shape = ["batch", size]
    return graph(nodes, {"x": (FLOAT, shape)}, {"y": (FLOAT, shape)}, {"w": weights})


BATCHING = "max_batch_size: {rows}\ndynamic_batching {{ {options} }}\n"


class Repository:
    """A model repository that a test fills."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(
        self,
        name: str,
        model: onnx.ModelProto | None = None,
        *,
        config: str | None = None,
        version: str = "1",
    ) -> Path:
        """Writes one version; without a config the graph completes it."""
        folder = self.path / name / version
        folder.mkdir(parents=True)
        onnx.save(model or affine(), folder / "model.onnx")
        if config is not None:
            (folder.parent / "config.pbtxt").write_text(config)
        return folder


class Client:
    """Raw calls to a server: what the wire says, no more."""

    def __init__(self, channel: grpc.aio.Channel, address: str) -> None:
        self.channel = channel
        self.address = address
        self.inference = InferenceStub(channel)
        self.explain = ExplainStub(channel)

    async def infer(self, model_name: str, timeout: float = 60, **arrays: Any) -> Any:  # noqa: ASYNC109
        """Sends arrays raw and returns the outputs by name; FP32 unless the dtype differs."""
        response = await self.inference.ModelInfer(
            infer_request(model_name, **arrays), timeout=timeout
        )
        return read_outputs(response)


def infer_request(model_name: str, /, **arrays: np.ndarray) -> pb.ModelInferRequest:
    """A request in raw form."""
    request = pb.ModelInferRequest(model_name=model_name)
    for name, array in arrays.items():
        datatype = datatype_of(array.dtype)
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(encode(array, datatype))
    return request


def read_outputs(response: pb.ModelInferResponse) -> dict[str, np.ndarray]:
    """The arrays of a response."""
    assert len(response.outputs) == len(response.raw_output_contents)
    return {
        output.name: decode(raw, datatype=output.datatype, shape=output.shape)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


async def status_of(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """The status and message with which a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""
