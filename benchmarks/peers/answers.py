"""Whether a peer's answers are ours: nobody is measured while failing."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from benchmarks.processes import ServerProcess
from benchmarks.serving.stage import ask
from eyespot.v1 import inference_pb2

Logits = NDArray[np.float32]

_TOLERANCE = 1e-5


class OtherAnswersError(Exception):
    """A peer's numbers are not ours; its figures would mean nothing."""


def answers(server: ServerProcess, requests: Sequence[bytes]) -> list[Logits]:
    """Ask all at once, so that they meet in batches; one answer for each."""
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda request: logits_of(ask(server, request)), requests))


def logits_of(response: bytes) -> Logits:
    """The first output of a ModelInferResponse, of its raw or its typed contents."""
    message = inference_pb2.ModelInferResponse.FromString(response)
    (output,) = message.outputs
    if message.raw_output_contents:
        numbers = np.frombuffer(message.raw_output_contents[0], np.float32)
    else:
        numbers = np.array(output.contents.fp32_contents, np.float32)
    return numbers.reshape(tuple(output.shape))


def must_agree(name: str, *, theirs: Sequence[Logits], ours: Sequence[Logits]) -> None:
    """Hold a peer's answers against ours, one by one.

    Raises:
        OtherAnswersError: If one is further off than 1e-5, or than 1e-5 of its size above 1.
    """
    for place, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        if their.shape != our.shape:
            raise OtherAnswersError(f"{name}: answer {place} is {their.shape}, ours {our.shape}")
        off = float(np.max(np.abs(their - our) / np.maximum(1.0, np.abs(our))))
        if not off <= _TOLERANCE:
            raise OtherAnswersError(f"{name}: answer {place} is {off:.1e} off, not {_TOLERANCE}")
