"""What a client can do, as steps that either kind of client performs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from eyespot.client import answers, requests
from eyespot.client.explaining import Explaining
from eyespot.client.explanation import Explanation
from eyespot.client.inferring import Inferring
from eyespot.client.known_models import KnownModels
from eyespot.client.one_version import ask_again_if_replaced
from eyespot.client.pictures import Images
from eyespot.client.question import Question
from eyespot.client.segmentation import Segmentation
from eyespot.client.steps import Deadline, Pause, RetryPolicy, Steps, send
from eyespot.client.values import (
    Classification,
    InferResult,
    MethodDescription,
    ModelConfig,
    ModelMetadata,
    ModelStatistics,
    ModelStatus,
    ServerMetadata,
)
from eyespot.v1 import explain_pb2, inference_pb2
from eyespot.v1.tensors import Array

Inputs: TypeAlias = Mapping[str, Array] | Images

# Between two looks at a model that is being loaded.
_POLL_SECONDS = 0.25


class Operations:
    """The operations on one server, and what is known of its models.

    Args:
        timeout: Seconds that one operation may take, unless it is given its own.
        policy: How an unavailable server is asked again.
        clock: Seconds that never run backwards.
    """

    def __init__(
        self, *, timeout: float | None, policy: RetryPolicy, clock: Callable[[], float]
    ) -> None:
        self._timeout = timeout
        self._policy = policy
        self._clock = clock
        self._known = KnownModels(policy)
        self._inferring = Inferring(self._known)
        self._explaining = Explaining(self._known, self._inferring, policy)

    def infer(
        self,
        model_name: str,
        inputs: Inputs,
        *,
        model_version: str,
        outputs: Sequence[str] | None,
        timeout: float | None,
    ) -> Steps[InferResult]:
        """Send arrays as they are, in one request; pictures in as many as they need."""
        deadline = self._deadline(timeout)

        def ask() -> Steps[InferResult]:
            metadata = yield from self._known.metadata(model_name, model_version, deadline)
            if isinstance(inputs, np.ndarray | Mapping):
                run = self._inferring.once(
                    requests.by_name(inputs, metadata),
                    metadata,
                    model_version=model_version,
                    outputs=outputs,
                    deadline=deadline,
                )
            else:
                run = self._inferring.rows(
                    inputs,
                    metadata,
                    model_version=model_version,
                    outputs=outputs,
                    deadline=deadline,
                )
            return (yield from run)

        return ask_again_if_replaced(ask)

    def classify(
        self,
        model_name: str,
        images: Images,
        *,
        top_k: int,
        model_version: str,
        output: str | None,
        timeout: float | None,
    ) -> Steps[list[list[Classification]]]:
        """Infer, and rank the classes of each row."""
        deadline = self._deadline(timeout)

        def ask() -> Steps[list[list[Classification]]]:
            metadata = yield from self._known.metadata(model_name, model_version, deadline)
            name = answers.output_name(metadata, output, usual="logits")
            result = yield from self._inferring.rows(
                images, metadata, model_version=model_version, outputs=[name], deadline=deadline
            )
            config = yield from self._known.config(model_name, model_version, deadline)
            return answers.classify(
                result.outputs[name],
                config.labels,
                top_k=top_k,
                independent=config.has_independent_classes,
            )

        return ask_again_if_replaced(ask)

    def segment(
        self,
        model_name: str,
        images: Images,
        *,
        model_version: str,
        output: str | None,
        timeout: float | None,
    ) -> Steps[list[Segmentation]]:
        """Infer, and choose the likeliest class of each pixel."""
        deadline = self._deadline(timeout)

        def ask() -> Steps[list[Segmentation]]:
            metadata = yield from self._known.metadata(model_name, model_version, deadline)
            name = answers.output_name(metadata, output, usual="segmentation")
            return (
                yield from self._inferring.segmentations(
                    images, metadata, name, model_version=model_version, deadline=deadline
                )
            )

        return ask_again_if_replaced(ask)

    def embed(
        self,
        model_name: str,
        images: Images,
        *,
        model_version: str,
        output: str | None,
        timeout: float | None,
    ) -> Steps[Array]:
        """Infer, and give one vector for each row."""
        deadline = self._deadline(timeout)

        def ask() -> Steps[Array]:
            metadata = yield from self._known.metadata(model_name, model_version, deadline)
            name = answers.output_name(metadata, output, usual="embedding")
            result = yield from self._inferring.rows(
                images, metadata, model_version=model_version, outputs=[name], deadline=deadline
            )
            return answers.read_embeddings(result.outputs[name])

        return ask_again_if_replaced(ask)

    def explain(
        self, model_name: str, images: Images, question: Question, *, timeout: float | None
    ) -> Steps[list[Explanation]]:
        """Ask which elements of each row made the model say so."""
        return self._explaining.all(model_name, images, question, self._deadline(timeout))

    def explain_stream(
        self, model_name: str, images: Images, question: Question, *, timeout: float | None
    ) -> Steps[None]:
        """Ask the same, and give what is known each time that the server tells more."""
        return self._explaining.stream(model_name, images, question, self._deadline(timeout))

    def server_live(self, *, timeout: float | None) -> Steps[bool]:
        """Is the process up and answering?"""
        request = inference_pb2.ServerLiveRequest()
        return bool((yield from self._send("ServerLive", request, timeout)).live)

    def server_ready(self, *, timeout: float | None) -> Steps[bool]:
        """Is every model loaded, or known to be unavailable?"""
        request = inference_pb2.ServerReadyRequest()
        return bool((yield from self._send("ServerReady", request, timeout)).ready)

    def model_ready(
        self, model_name: str, *, model_version: str, timeout: float | None
    ) -> Steps[bool]:
        """Can this model take requests?"""
        request = inference_pb2.ModelReadyRequest(name=model_name, version=model_version)
        return bool((yield from self._send("ModelReady", request, timeout)).ready)

    def server_metadata(self, *, timeout: float | None) -> Steps[ServerMetadata]:
        """Ask who is answering."""
        request = inference_pb2.ServerMetadataRequest()
        return answers.read_server_metadata(
            (yield from self._send("ServerMetadata", request, timeout))
        )

    def model_metadata(
        self, model_name: str, *, model_version: str, timeout: float | None
    ) -> Steps[ModelMetadata]:
        """Ask anew, and keep the answer."""
        self._known.forget_metadata(model_name, model_version)
        return (yield from self._known.metadata(model_name, model_version, self._deadline(timeout)))

    def model_config(
        self, model_name: str, *, model_version: str, timeout: float | None
    ) -> Steps[ModelConfig]:
        """Ask anew; a server that does not tell configurations is an error here."""
        request = inference_pb2.ModelConfigRequest(name=model_name, version=model_version)
        config = answers.read_model_config((yield from self._send("ModelConfig", request, timeout)))
        self._known.keep_config(model_name, model_version, config)
        return config

    def statistics(
        self, model_name: str, *, model_version: str, timeout: float | None
    ) -> Steps[list[ModelStatistics]]:
        """Ask for the counters of one model, or of all."""
        request = inference_pb2.ModelStatisticsRequest(name=model_name, version=model_version)
        return answers.read_statistics((yield from self._send("ModelStatistics", request, timeout)))

    def repository_index(
        self, *, ready_only: bool, timeout: float | None
    ) -> Steps[list[ModelStatus]]:
        """Ask what lies in the repository."""
        request = inference_pb2.RepositoryIndexRequest(ready=ready_only)
        return answers.read_index((yield from self._send("RepositoryIndex", request, timeout)))

    def wait_while_loading(
        self, model_name: str, *, model_version: str, for_explaining: bool, timeout: float | None
    ) -> Steps[list[ModelStatus]]:
        """Look at the repository until none of the model's versions in question is loading."""
        deadline = self._deadline(timeout)
        request = inference_pb2.RepositoryIndexRequest()
        while True:
            response = yield from send(
                "RepositoryIndex", request, deadline=deadline, policy=self._policy
            )
            models = [
                model
                for model in answers.read_index(response)
                if model.name == model_name and model_version in ("", model.version)
            ]
            is_loading = any(model.is_awaited(for_explaining=for_explaining) for model in models)
            if not is_loading or not deadline.leaves(_POLL_SECONDS):
                return models
            yield Pause(_POLL_SECONDS)

    def list_methods(
        self, model_name: str, *, model_version: str, timeout: float | None
    ) -> Steps[list[MethodDescription]]:
        """Ask which saliency methods work for a model."""
        request = explain_pb2.ListMethodsRequest(model_name=model_name, model_version=model_version)
        return answers.read_methods((yield from self._send("ListMethods", request, timeout)))

    def _send(self, method: str, request: Any, timeout: float | None) -> Steps[Any]:
        deadline = self._deadline(timeout)
        return (yield from send(method, request, deadline=deadline, policy=self._policy))

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is None else timeout, self._clock)
