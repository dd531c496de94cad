"""Clients that keep a server busy with everything it can be asked, and check each answer."""

import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tests.soak.answers import (
    Array,
    LiveVersions,
    WrongAnswerError,
    check_attributions,
    check_output,
)
from tests.soak.models import COMING, MOST_ROWS, PICTURE, ROWS, TEXT, WIDE, publish

from eyespot.v1 import explain_pb2
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.services import ExplainStub, InferenceStub
from eyespot.v1.tensors import datatype_of, decode, encode

_TIMEOUT_SECONDS = 60  # longer than any answer takes: what it ends is lost
_TURNS_PER_CONNECTION = 200
_SHOWN_FAILURES = 20


@dataclass
class Soak:
    """What the clients share."""

    port: int
    seed: int
    repository: Path
    originals: Path
    live: LiveVersions = field(default_factory=LiveVersions)
    counts: Counter[str] = field(default_factory=Counter)  # by kind, and "wrong" and "lost"
    failures: list[str] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=lambda: {ROWS: 1, PICTURE: 1})

    def __post_init__(self) -> None:
        for model in (ROWS, PICTURE):
            self.live.begin(model, 1, time.monotonic())
        self._lock = threading.Lock()

    def count(self, what: str, failure: str = "") -> None:
        """Counts what a turn came to; the first failures are kept as they were told."""
        with self._lock:
            self.counts[what] += 1
            if failure and len(self.failures) < _SHOWN_FAILURES:
                self.failures.append(failure)


class Client(threading.Thread):
    """Takes turns of one kind until it is told to stop."""

    def __init__(self, kind: str, name: str, soak: Soak, end: threading.Event) -> None:
        super().__init__(name=name)
        self.soak = soak
        self.draw = random.Random(f"{soak.seed}/{name}")
        self._kind = kind
        self._end = end

    def run(self) -> None:
        """Takes turns; what goes wrong in one is written down, and the next begins."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        while not self._end.is_set():
            with grpc.insecure_channel(f"127.0.0.1:{self.soak.port}", options=options) as channel:
                self.inference, self.explain = InferenceStub(channel), ExplainStub(channel)
                for _ in range(_TURNS_PER_CONNECTION):
                    if not self._end.is_set():
                        self._take(TURNS[self._kind])

    def _take(self, turn: "Callable[[Client], None]") -> None:
        try:
            turn(self)
            self.soak.count(self._kind)
        except grpc.RpcError as error:
            told = f"{error.code().name}: {error.details()}"
            self.soak.count("lost", f"{self.name}: {told}")
        except WrongAnswerError as error:
            self.soak.count("wrong", f"{self.name}: {error}")
        except Exception:  # ours: a soak that says nothing of it would be green
            self.soak.count("wrong", f"{self.name}: {traceback.format_exc()}")

    def check(self, x: Array, response: Any, *, sent: float) -> None:
        """Compares one answer with its request."""
        (output,), (raw,) = response.outputs, response.raw_output_contents
        y = decode(raw, datatype=output.datatype, shape=output.shape)
        model, version = response.model_name, response.model_version
        if model in self.soak.versions:
            self.soak.live.check(model, version, sent=sent, received=time.monotonic())
        check_output(model, version, x, y)

    def request(self, model: str) -> tuple[Array, pb.ModelInferRequest]:
        """An input that no other request has, in all likelihood, and the request for it."""
        rows = self.draw.randint(1, MOST_ROWS)
        shape = {
            ROWS: (rows, 4), COMING: (rows, 4), WIDE: (rows, self.draw.randint(1, 2048)),
            TEXT: (rows, 1), PICTURE: (rows, 3, 8, 8),
        }[model]  # fmt: skip
        generator = np.random.default_rng(self.draw.randrange(2**32))
        x: Array = generator.integers(-1000, 1000, shape).astype(np.float32)
        if model == TEXT:
            x = np.array([[f"{number}".encode() * 5] for number in x[:, 0]], object)
        datatype = datatype_of(x.dtype)
        request = pb.ModelInferRequest(model_name=model, id=str(self.draw.randrange(2**32)))
        request.inputs.add(name="x", datatype=datatype, shape=x.shape)
        request.raw_input_contents.append(encode(x, datatype))
        return x, request


def infer(client: Client) -> None:
    """One request, one answer."""
    x, request = client.request(client.draw.choice((ROWS, ROWS, WIDE, TEXT, PICTURE)))
    sent = time.monotonic()
    response = client.inference.ModelInfer(request, timeout=_TIMEOUT_SECONDS)
    if response.id != request.id:
        raise WrongAnswerError(f"request {request.id} got the answer of {response.id}")
    client.check(x, response, sent=sent)


def stream(client: Client) -> None:
    """Some requests at once, answered in their order, none left out."""
    asked = [client.request(client.draw.choice((ROWS, TEXT))) for _ in range(10)]
    sent = time.monotonic()
    answers = client.inference.ModelStreamInfer(
        iter([request for _, request in asked]), timeout=_TIMEOUT_SECONDS
    )
    got = [answer.infer_response for answer in answers if not answer.error_message]
    if [each.id for each in got] != [request.id for _, request in asked]:
        raise WrongAnswerError(f"a stream of {len(asked)} requests got {len(got)} answers")
    for (x, _), response in zip(asked, got, strict=True):
        client.check(x, response, sent=sent)


def explain(client: Client) -> None:
    """The gradient of one class for each row, in one answer or in steps."""
    targets, request = _explanation(client)
    sent = time.monotonic()
    if client.draw.random() < 0.5:
        response = client.explain.Explain(request, timeout=_TIMEOUT_SECONDS)
    else:
        *_, last = client.explain.ExplainStream(request, timeout=_TIMEOUT_SECONDS)
        response = last.explain_response
    version = response.model_version
    client.soak.live.check(PICTURE, version, sent=sent, received=time.monotonic())
    (raw,), told = response.raw_output_contents, response.attributions
    check_attributions(version, targets, decode(raw, datatype="FP32", shape=told.shape))


def _explanation(client: Client) -> tuple[list[int], explain_pb2.ExplainRequest]:
    _, asked = client.request(PICTURE)
    rows = asked.inputs[0].shape[0]
    targets = [client.draw.randrange(4) for _ in range(rows)]
    request = explain_pb2.ExplainRequest(
        model_name=PICTURE,
        method=client.draw.choice(("saliency", "smooth_grad")),  # the same where all is linear
        inputs=asked.inputs,
        raw_input_contents=asked.raw_input_contents,
        targets=[explain_pb2.ExplainTarget(index=target) for target in targets],
    )
    return targets, request


def cancel(client: Client) -> None:
    """A caller that goes away before it is answered, or after."""
    if client.draw.random() < 0.3:
        _, explanation = _explanation(client)
        call = client.explain.ExplainStream(explanation, timeout=_TIMEOUT_SECONDS)
    else:
        _, request = client.request(client.draw.choice((ROWS, PICTURE, WIDE)))
        call = client.inference.ModelInfer.future(request, timeout=_TIMEOUT_SECONDS)
    time.sleep(client.draw.random() * 0.05)
    call.cancel()


def malformed(client: Client) -> None:
    """What cannot be answered is refused by name."""
    _, request = client.request(ROWS)
    expected = grpc.StatusCode.INVALID_ARGUMENT
    match client.draw.randrange(6):
        case 0:
            request.raw_input_contents[0] += b"\0"
        case 1:
            request.inputs[0].shape[0] = 2**62
        case 2:
            request.inputs[0].datatype = "FP64"
        case 3:
            request.inputs[0].name = "z"
        case 4:
            request.raw_input_contents.append(b"")
        case _:
            request.model_name, expected = "nothing", grpc.StatusCode.NOT_FOUND
    try:
        client.inference.ModelInfer(request, timeout=_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        if error.code() is expected:
            return
        raise
    raise WrongAnswerError(f"what cannot be answered was: {request.model_name}")


def load_and_unload(client: Client) -> None:
    """A model that comes and goes: asked while it is here, and refused while it is not."""
    client.inference.RepositoryModelUnload(
        pb.RepositoryModelUnloadRequest(model_name=COMING), timeout=_TIMEOUT_SECONDS
    )
    x, request = client.request(COMING)
    try:
        client.inference.ModelInfer(request, timeout=_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
    else:
        raise WrongAnswerError("a model answered that had been unloaded")
    client.inference.RepositoryModelLoad(
        pb.RepositoryModelLoadRequest(model_name=COMING), timeout=_TIMEOUT_SECONDS
    )
    sent = time.monotonic()
    client.check(x, client.inference.ModelInfer(request, timeout=_TIMEOUT_SECONDS), sent=sent)
    time.sleep(0.2)


def swap(client: Client) -> None:
    """A new version appears beside the one that is served, and takes its place."""
    soak = client.soak
    model = client.draw.choice((ROWS, PICTURE))
    version = soak.versions[model] = soak.versions[model] + 1
    publish(soak.repository, model, version, soak.originals)
    soak.live.begin(model, version, time.monotonic())
    client.inference.RepositoryModelLoad(
        pb.RepositoryModelLoadRequest(model_name=model), timeout=_TIMEOUT_SECONDS
    )
    soak.live.end_others(model, version, time.monotonic())
    time.sleep(0.5)


TURNS: dict[str, Callable[[Client], None]] = {
    "infer": infer,
    "stream": stream,
    "explain": explain,
    "cancel": cancel,
    "malformed": malformed,
    "load / unload": load_and_unload,
    "hot swap": swap,
}
# Of most kinds there is one client: only one may change what is served of one model.
_MORE = {"infer": 3, "stream": 2, "explain": 2}


def clients(soak: Soak, phase: str, end: threading.Event) -> list[Client]:
    """All clients of one phase, which call until its end."""
    return [
        Client(kind, f"{kind} {number}, {phase}", soak, end)
        for kind in TURNS
        for number in range(_MORE.get(kind, 1))
    ]
