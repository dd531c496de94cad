"""What a client can do, as steps that either kind of client performs.

The metadata and the configuration of a model are asked for once and kept by
(model_name, model_version). They are forgotten when the server refuses a request that was
built on them, because the model may have been replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from eyespot.client import answers, requests
from eyespot.client.errors import (
    InvalidArgumentError,
    NotFoundError,
    UnimplementedError,
)
from eyespot.client.explanation import ExplainProgress, Explanation
from eyespot.client.pictures import Images, Picture, as_rows, loader, read_encoded
from eyespot.client.question import Asking, Question
from eyespot.client.segmentation import Segmentation, read_segmentations
from eyespot.client.steps import (
    Deadline,
    Give,
    Pause,
    Receive,
    RetryPolicy,
    Steps,
    Work,
    open_stream,
    send,
)
from eyespot.client.values import (
    Classification,
    ExplainTarget,
    InferResult,
    MethodDescription,
    ModelConfig,
    ModelMetadata,
    ModelStatistics,
    ModelStatus,
    ServerMetadata,
)
from eyespot.v1 import explain_pb2, inference_pb2, model_config_pb2
from eyespot.v1.tensors import Array

Inputs: TypeAlias = Mapping[str, Array] | Images

# Rows in one request to a server that names no bound.
_DEFAULT_BATCH_SIZE = 32
# Between two looks at a model that is being loaded.
_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class _Batch:
    """Some of the rows of one call, still to be loaded."""

    start: int
    stop: int
    load: Callable[[], Array]


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
        self._metadata: dict[tuple[str, str], ModelMetadata] = {}
        self._configs: dict[tuple[str, str], ModelConfig] = {}

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
        metadata = yield from self._metadata_of(model_name, model_version, deadline)
        if isinstance(inputs, np.ndarray | Mapping):
            arrays = requests.by_name(inputs, metadata)
            return (
                yield from self._infer_once(
                    arrays,
                    metadata,
                    model_version=model_version,
                    outputs=outputs,
                    deadline=deadline,
                )
            )
        return (
            yield from self._infer_rows(
                inputs, metadata, model_version=model_version, outputs=outputs, deadline=deadline
            )
        )

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
        metadata = yield from self._metadata_of(model_name, model_version, deadline)
        name = answers.output_name(metadata, output, usual="logits")
        result = yield from self._infer_rows(
            images, metadata, model_version=model_version, outputs=[name], deadline=deadline
        )
        config = yield from self._config_of(model_name, model_version, deadline)
        return answers.classify(
            result.outputs[name],
            config.labels,
            top_k=top_k,
            independent=config.has_independent_classes,
        )

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
        metadata = yield from self._metadata_of(model_name, model_version, deadline)
        name = answers.output_name(metadata, output, usual="segmentation")
        config = yield from self._config_of(model_name, model_version, deadline)
        segmentations: list[Segmentation] = []
        for batch in _batches(as_rows(images, len(requests.only_input(metadata).shape)), config):
            array = yield Work(batch.load)
            result = yield from self._infer_once(
                requests.by_name(array, metadata),
                metadata,
                model_version=model_version,
                outputs=[name],
                deadline=deadline,
            )
            segmentations += read_segmentations(result, name, array, config)
        return segmentations

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
        metadata = yield from self._metadata_of(model_name, model_version, deadline)
        name = answers.output_name(metadata, output, usual="embedding")
        result = yield from self._infer_rows(
            images, metadata, model_version=model_version, outputs=[name], deadline=deadline
        )
        return answers.read_embeddings(result.outputs[name])

    def explain(
        self, model_name: str, images: Images, question: Question, *, timeout: float | None
    ) -> Steps[list[Explanation]]:
        """Ask which elements of each row made the model say so."""
        deadline = self._deadline(timeout)
        asking = yield from self._asking(model_name, images, question, deadline)
        explanations: list[Explanation] = []
        for batch in _batches(asking.rows, asking.config):
            array = yield Work(batch.load)
            request = asking.request(array, batch.start, batch.stop)
            response = yield from self._send_built("Explain", request, deadline)
            explanations += asking.read(response, array, batch.start, batch.stop)
        return explanations

    def explain_stream(
        self, model_name: str, images: Images, question: Question, *, timeout: float | None
    ) -> Steps[None]:
        """Ask the same, and give what is known each time that the server tells more."""
        deadline = self._deadline(timeout)
        asking = yield from self._asking(model_name, images, question, deadline)
        done: list[Explanation] = []
        for batch in _batches(asking.rows, asking.config):
            array = yield Work(batch.load)
            request = asking.request(array, batch.start, batch.stop)
            with self._forgetting_if_refused(request):
                stream, message = yield from open_stream(
                    "ExplainStream", request, deadline=deadline, policy=self._policy
                )
            try:
                known = []
                while message is not None:
                    known = asking.read(message.explain_response, array, batch.start, batch.stop)
                    rows = batch.start + message.progress * (batch.stop - batch.start)
                    yield Give(ExplainProgress(rows / len(asking.rows), [*done, *known]))
                    message = yield Receive(stream)
                done += known
            finally:
                stream.cancel()  # the caller may have gone: the server need not go on

    def _asking(
        self, model_name: str, images: Images, question: Question, deadline: Deadline
    ) -> Steps[Asking]:
        """Learn of the model what the question must be built on."""
        version = question.model_version
        metadata = yield from self._metadata_of(model_name, version, deadline)
        config = yield from self._config_of(model_name, version, deadline)
        rows = as_rows(images, len(requests.only_input(metadata).shape))
        targets = question.targets_of(len(rows))
        if question.like is not None:
            name = answers.output_name(metadata, None, usual="embedding")
            result = yield from self._infer_rows(
                question.like, metadata, model_version=version, outputs=[name], deadline=deadline
            )
            targets = [ExplainTarget(embedding=question.embedding_of(result.outputs[name]))]
        return Asking(question, rows, targets, metadata, config)

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
        self._metadata.pop((model_name, model_version), None)
        return (yield from self._metadata_of(model_name, model_version, self._deadline(timeout)))

    def model_config(
        self, model_name: str, *, model_version: str, timeout: float | None
    ) -> Steps[ModelConfig]:
        """Ask anew; a server that does not tell configurations is an error here."""
        request = inference_pb2.ModelConfigRequest(name=model_name, version=model_version)
        config = answers.read_model_config((yield from self._send("ModelConfig", request, timeout)))
        self._configs[model_name, model_version] = config
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

    def _infer_rows(
        self,
        images: Images,
        metadata: ModelMetadata,
        *,
        model_version: str,
        outputs: Sequence[str] | None,
        deadline: Deadline,
    ) -> Steps[InferResult]:
        config = yield from self._config_of(metadata.name, model_version, deadline)
        rows = as_rows(images, len(requests.only_input(metadata).shape))
        results: list[InferResult] = []
        for batch in _batches(rows, config):
            part = rows[batch.start : batch.stop]
            result = yield from self._infer_encoded(
                part, config, model_version=model_version, outputs=outputs, deadline=deadline
            )
            if result is None:
                array = yield Work(batch.load)
                arrays = requests.by_name(array, metadata)
                result = yield from self._infer_once(
                    arrays,
                    metadata,
                    model_version=model_version,
                    outputs=outputs,
                    deadline=deadline,
                )
            results.append(result)
        return answers.join(results)

    def _infer_encoded(
        self,
        rows: Sequence[Picture | Array],
        config: ModelConfig,
        *,
        model_version: str,
        outputs: Sequence[str] | None,
        deadline: Deadline,
    ) -> Steps[InferResult | None]:
        """Let the server decode the pictures of a batch; None where they are to be prepared here.

        What it refuses is prepared here as well: it succeeds, or the error names the file.
        """
        if not config.image_endpoint:
            return None
        encoded = yield Work(partial(read_encoded, rows, config.image_formats))
        if encoded is None:
            return None
        try:
            metadata = yield from self._metadata_of(config.image_endpoint, model_version, deadline)
            result = yield from self._infer_once(
                requests.by_name(encoded, metadata),
                metadata,
                model_version=model_version,
                outputs=outputs,
                deadline=deadline,
            )
        except InvalidArgumentError:
            return None
        except NotFoundError:  # the server was replaced by one that does not do it
            self._configs.pop((config.name, model_version), None)
            return None
        return replace(result, model_name=config.name)

    def _infer_once(
        self,
        arrays: Mapping[str, Array],
        metadata: ModelMetadata,
        *,
        model_version: str,
        outputs: Sequence[str] | None,
        deadline: Deadline,
    ) -> Steps[InferResult]:
        request = requests.infer_request(
            arrays, metadata, model_version=model_version, outputs=outputs
        )
        return answers.read_infer((yield from self._send_built("ModelInfer", request, deadline)))

    def _metadata_of(
        self, model_name: str, model_version: str, deadline: Deadline
    ) -> Steps[ModelMetadata]:
        key = (model_name, model_version)
        if key not in self._metadata:
            request = inference_pb2.ModelMetadataRequest(name=model_name, version=model_version)
            response = yield from send(
                "ModelMetadata", request, deadline=deadline, policy=self._policy
            )
            # Not every server repeats the name.
            self._metadata[key] = replace(answers.read_model_metadata(response), name=model_name)
        return self._metadata[key]

    def _config_of(
        self, model_name: str, model_version: str, deadline: Deadline
    ) -> Steps[ModelConfig]:
        """Like `_metadata_of`; ModelConfig is an extension that a server may lack."""
        key = (model_name, model_version)
        if key not in self._configs:
            request = inference_pb2.ModelConfigRequest(name=model_name, version=model_version)
            try:
                response = yield from send(
                    "ModelConfig", request, deadline=deadline, policy=self._policy
                )
            except UnimplementedError:
                config = model_config_pb2.ModelConfig(
                    name=model_name, max_batch_size=_DEFAULT_BATCH_SIZE
                )
                response = inference_pb2.ModelConfigResponse(config=config)
            self._configs[key] = replace(answers.read_model_config(response), name=model_name)
        return self._configs[key]

    def _send(self, method: str, request: Any, timeout: float | None) -> Steps[Any]:
        deadline = self._deadline(timeout)
        return (yield from send(method, request, deadline=deadline, policy=self._policy))

    def _send_built(self, method: str, request: Any, deadline: Deadline) -> Steps[Any]:
        """Send what was built on the model's metadata."""
        with self._forgetting_if_refused(request):
            return (yield from send(method, request, deadline=deadline, policy=self._policy))

    @contextmanager
    def _forgetting_if_refused(self, request: Any) -> Iterator[None]:
        try:
            yield
        except (InvalidArgumentError, NotFoundError):
            key = (request.model_name, request.model_version)
            self._metadata.pop(key, None)
            self._configs.pop(key, None)
            raise

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is None else timeout, self._clock)


def _batches(rows: Sequence[Picture | Array], config: ModelConfig) -> Iterator[_Batch]:
    size = max(config.max_batch_size, 1)
    if config.preprocessing is not None and config.preprocessing.size is None:
        size = 1  # each picture keeps a size of its own
    for start in range(0, len(rows), size):
        stop = min(start + size, len(rows))
        yield _Batch(
            start, stop, loader(rows[start:stop], config.preprocessing, model_name=config.name)
        )
