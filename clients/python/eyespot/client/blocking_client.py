"""The client for ordinary Python: each method returns when the answer is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from types import TracebackType
from typing import Self, Unpack

from eyespot.client.blocking_performer import BlockingPerformer
from eyespot.client.channel import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, server_address
from eyespot.client.explanation import ExplainProgress, Explanation
from eyespot.client.operations import Inputs, Operations
from eyespot.client.pictures import Images
from eyespot.client.question import Asked, Question
from eyespot.client.security import File, Security
from eyespot.client.segmentation import Segmentation
from eyespot.client.steps import RetryPolicy
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
from eyespot.v1.tensors import Array


class Client:
    """Talks to one server; may be shared by threads, and closes as a context manager.

    Every method takes `timeout`, the seconds within which it must have ended, retries
    included; None means the client's own timeout, `math.inf` none at all. What it raises
    is an `EyespotError`. While the server is unavailable, or says when to come again, it is
    asked again: every call may be repeated, for none changes anything.

    Args:
        address: HOST or HOST:PORT of the server; the port is 8001 unless told.
        timeout: Seconds for a method that is given no timeout; None sets no deadline.
        retries: How often a server is asked again that is unavailable, after pauses that
            grow from 0.2 s to 5 s, or that is busy and says for how long; 0 never asks again.
        tls: Whether to connect by TLS; a `ca` or a `certificate` make it so, too.
        ca: PEM file of the authority that the server's certificate must be of; None for
            the well-known ones.
        certificate: PEM file of the client's own certificate chain, for mutual TLS.
        key: PEM file of the key to it.
        token: Tells the server who calls. Without TLS anyone on the way can read it.
        clock: Seconds that never run backwards.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: int = RetryPolicy.retries,
        tls: bool = False,
        ca: File | None = None,
        certificate: File | None = None,
        key: File | None = None,
        token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._operations = Operations(
            timeout=timeout, policy=RetryPolicy(retries=retries), clock=clock
        )
        self._address = server_address(address)
        security = Security(tls=tls, ca=ca, certificate=certificate, key=key, token=token)
        self._performer = BlockingPerformer(
            repr(self), self._address, security=security, sleep=sleep
        )

    def infer(
        self,
        model_name: str,
        inputs: Inputs,
        *,
        model_version: str = "",
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> InferResult:
        """Run a model; works with every server of the Open Inference Protocol v2.

        Args:
            model_name: Of the server's repository.
            inputs: An array, or a dict of arrays for a model with several inputs: sent
                in one request as they are, the batch dimension first, cast only where
                nothing is lost. Or a picture (PIL image, path, or the bytes of a JPEG, PNG
                or WebP file), or a list of pictures and rows: prepared by the model's own
                rule, sent in as many requests as its max_batch_size asks for, and the
                answers joined in order.
            model_version: The newest when empty.
            outputs: Names of the outputs wanted; all when None.
            timeout: In seconds.

        Raises:
            ModelReplacedError: Of pictures in several requests, the first were answered by one
                version of the model and the next by another, which took its place meanwhile; all
                were asked about once more, and it happened again. So it is with `classify`,
                `segment` and `embed`.
        """
        return self._performer.run(
            self._operations.infer(
                model_name,
                inputs,
                model_version=model_version,
                outputs=outputs,
                timeout=timeout,
            )
        )

    def classify(
        self,
        model_name: str,
        images: Images,
        *,
        top_k: int = 5,
        model_version: str = "",
        output: str | None = None,
        timeout: float | None = None,
    ) -> list[list[Classification]]:
        """Name the likeliest classes of each picture, the likeliest first.

        Args:
            model_name: A model whose output is logits, one per class.
            images: As in `infer`, or an array: a row, or a batch of any length.
            top_k: How many classes for each picture.
            model_version: The newest when empty.
            output: Name of the logits, needed when several outputs could be them.
            timeout: In seconds.
        """
        return self._performer.run(
            self._operations.classify(
                model_name,
                images,
                top_k=top_k,
                model_version=model_version,
                output=output,
                timeout=timeout,
            )
        )

    def segment(
        self,
        model_name: str,
        images: Images,
        *,
        model_version: str = "",
        output: str | None = None,
        timeout: float | None = None,
    ) -> list[Segmentation]:
        """Tell what each picture shows where.

        Args:
            model_name: A model whose output has a number for each class of each pixel.
            images: As in `classify`.
            model_version: The newest when empty.
            output: Name of the output, needed when several could be it.
            timeout: In seconds.
        """
        return self._performer.run(
            self._operations.segment(
                model_name, images, model_version=model_version, output=output, timeout=timeout
            )
        )

    def embed(
        self,
        model_name: str,
        images: Images,
        *,
        model_version: str = "",
        output: str | None = None,
        timeout: float | None = None,
    ) -> Array:
        """Turn each picture into a vector, (B, D).

        Args:
            model_name: A model whose output is one vector for each row.
            images: As in `classify`.
            model_version: The newest when empty.
            output: Name of the output, needed when several could be it.
            timeout: In seconds.
        """
        return self._performer.run(
            self._operations.embed(
                model_name, images, model_version=model_version, output=output, timeout=timeout
            )
        )

    def explain(
        self,
        model_name: str,
        images: Images,
        *,
        timeout: float | None = None,
        **asked: Unpack[Asked],
    ) -> list[Explanation]:
        """Show which pixels of each picture made the model say so.

        Args:
            model_name: A model that was exported with its original; "occlusion" and
                "rise" need none.
            images: As in `classify`.
            method: A name from `list_methods`; "saliency" unless told.
            target: Class index, label or ExplainTarget: one for all pictures, or one for
                each; None explains each picture's top class.
            like: Of a model that embeds: a picture or row; in place of a class, the cosine
                similarity of each picture's vector to this one's is explained.
            top_k: How many of each picture's top classes are explained, one unless told; more
                cost little more, and those of one picture stand together in the answer.
            score: What is differentiated: "logit" (unless told), "probability" (softmax),
                "binary_logit" (the class against all others) or "binary_probability".
            channel_reduction: "max" (largest magnitude), "mean" (signed) or "none"; the first
                for pictures and the last for what has no channels, unless told.
            encoding: How maps travel: "raw" numbers unless told, or "png": 8 bits and the range,
                about a tenth of the size; not for channels that are not reduced.
            parameters: Of the method.
            model_version: The newest when empty.
            timeout: In seconds.

        Raises:
            ModelReplacedError: Of more pictures than the model takes at once, the first were
                explained by one version of it and the next by another, which took its place
                meanwhile. A version whose files were exchanged under its number is not noticed.
        """
        question = Question(**asked)
        return self._performer.run(
            self._operations.explain(model_name, images, question, timeout=timeout)
        )

    def explain_stream(
        self,
        model_name: str,
        images: Images,
        *,
        timeout: float | None = None,
        **asked: Unpack[Asked],
    ) -> Generator[ExplainProgress, None, None]:
        """Do what `explain` does, and tell what is known by then each time that it is more.

        Leave the loop, and the server stops within one step. Long methods are refined:
        "integrated_gradients", "smooth_grad", "occlusion" and "rise".

        A server that is restarted in the middle is asked again, within the timeout and as often
        as any call: for what it had not answered in full. It refines that from the beginning,
        and nothing is told until it has come further than before. Progress never goes back, and
        a final answer comes once.

        Yields:
            The progress and the explanations so far, all of one version of the model; the last
            are what `explain` returns.

        Raises:
            ModelReplacedError: As `explain`; what was told until then holds.
        """
        question = Question(**asked)
        steps = self._operations.explain_stream(model_name, images, question, timeout=timeout)
        yield from self._performer.stream(steps)

    def server_live(self, *, timeout: float | None = None) -> bool:
        """Whether the server is up; UnavailableError when it cannot be reached."""
        return self._performer.run(self._operations.server_live(timeout=timeout))

    def server_ready(self, *, timeout: float | None = None) -> bool:
        """Whether every model is loaded, or known to be unavailable."""
        return self._performer.run(self._operations.server_ready(timeout=timeout))

    def model_ready(
        self, model_name: str, *, model_version: str = "", timeout: float | None = None
    ) -> bool:
        """Whether a model takes requests; `repository_index` tells why not."""
        return self._performer.run(
            self._operations.model_ready(model_name, model_version=model_version, timeout=timeout)
        )

    def server_metadata(self, *, timeout: float | None = None) -> ServerMetadata:
        """Tell who answers, and which extensions of the protocol it speaks."""
        return self._performer.run(self._operations.server_metadata(timeout=timeout))

    def model_metadata(
        self, model_name: str, *, model_version: str = "", timeout: float | None = None
    ) -> ModelMetadata:
        """Tell what goes into a model and what comes out."""
        return self._performer.run(
            self._operations.model_metadata(
                model_name, model_version=model_version, timeout=timeout
            )
        )

    def model_config(
        self, model_name: str, *, model_version: str = "", timeout: float | None = None
    ) -> ModelConfig:
        """Tell how a model is configured: its batches, preprocessing rule and labels."""
        return self._performer.run(
            self._operations.model_config(model_name, model_version=model_version, timeout=timeout)
        )

    def statistics(
        self, model_name: str = "", *, model_version: str = "", timeout: float | None = None
    ) -> list[ModelStatistics]:
        """Count what a model, or with an empty name each of them, has done."""
        return self._performer.run(
            self._operations.statistics(model_name, model_version=model_version, timeout=timeout)
        )

    def repository_index(
        self, *, ready_only: bool = False, timeout: float | None = None
    ) -> list[ModelStatus]:
        """List the models of the repository with their state, and why one is not ready."""
        return self._performer.run(
            self._operations.repository_index(ready_only=ready_only, timeout=timeout)
        )

    def wait_while_loading(
        self,
        model_name: str,
        *,
        model_version: str = "",
        for_explaining: bool = False,
        timeout: float | None = None,
    ) -> list[ModelStatus]:
        """Wait until a model, or one version of it, is loaded or known to be unavailable.

        Args:
            model_name: Of the server's repository.
            model_version: All versions when empty.
            for_explaining: What explains it is awaited too: it takes requests before that.
            timeout: In seconds.

        Returns:
            Its versions as they are then; one is still loading if the timeout has passed.
            None, if there is no such model.
        """
        return self._performer.run(
            self._operations.wait_while_loading(
                model_name,
                model_version=model_version,
                for_explaining=for_explaining,
                timeout=timeout,
            )
        )

    def list_methods(
        self, model_name: str, *, model_version: str = "", timeout: float | None = None
    ) -> list[MethodDescription]:
        """List the saliency methods, their parameters, and whether they work for a model."""
        return self._performer.run(
            self._operations.list_methods(model_name, model_version=model_version, timeout=timeout)
        )

    def close(self) -> None:
        """Close the connection; calls that are under way are cancelled."""
        self._performer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address!r})"
