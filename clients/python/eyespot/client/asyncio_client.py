"""The client for asyncio: the blocking one's methods, awaited."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, Unpack

from eyespot.client.asyncio_performer import AsyncioPerformer
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


class AsyncClient:
    """Talks to one server from an event loop; closes as an asynchronous context manager.

    Make it where the loop runs. Arguments and methods are those of `Client`, where each is
    explained; pictures are read and prepared in worker threads.
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
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._operations = Operations(
            timeout=timeout, policy=RetryPolicy(retries=retries), clock=clock
        )
        self._address = server_address(address)
        security = Security(tls=tls, ca=ca, certificate=certificate, key=key, token=token)
        self._performer = AsyncioPerformer(
            repr(self), self._address, security=security, sleep=sleep
        )

    async def infer(
        self,
        model_name: str,
        inputs: Inputs,
        *,
        model_version: str = "",
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it is the gRPC deadline
    ) -> InferResult:
        """Run a model."""
        return await self._performer.run(
            self._operations.infer(
                model_name,
                inputs,
                model_version=model_version,
                outputs=outputs,
                timeout=timeout,
            )
        )

    async def classify(
        self,
        model_name: str,
        images: Images,
        *,
        top_k: int = 5,
        model_version: str = "",
        output: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> list[list[Classification]]:
        """Name the likeliest classes of each picture, the likeliest first."""
        return await self._performer.run(
            self._operations.classify(
                model_name,
                images,
                top_k=top_k,
                model_version=model_version,
                output=output,
                timeout=timeout,
            )
        )

    async def segment(
        self,
        model_name: str,
        images: Images,
        *,
        model_version: str = "",
        output: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> list[Segmentation]:
        """Tell what each picture shows where."""
        return await self._performer.run(
            self._operations.segment(
                model_name, images, model_version=model_version, output=output, timeout=timeout
            )
        )

    async def embed(
        self,
        model_name: str,
        images: Images,
        *,
        model_version: str = "",
        output: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Array:
        """Turn each picture into a vector, (B, D)."""
        return await self._performer.run(
            self._operations.embed(
                model_name, images, model_version=model_version, output=output, timeout=timeout
            )
        )

    async def explain(
        self,
        model_name: str,
        images: Images,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        **asked: Unpack[Asked],
    ) -> list[Explanation]:
        """Show which pixels of each picture made the model say so."""
        question = Question(**asked)
        return await self._performer.run(
            self._operations.explain(model_name, images, question, timeout=timeout)
        )

    async def explain_stream(
        self,
        model_name: str,
        images: Images,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        **asked: Unpack[Asked],
    ) -> AsyncGenerator[ExplainProgress, None]:
        """Tell what is known each time that it is more; the last is what `explain` returns.

        A loop that is left stops the server within one step once the iterator is closed, as
        `contextlib.aclosing` does at once.
        """
        question = Question(**asked)
        steps = self._operations.explain_stream(model_name, images, question, timeout=timeout)
        async with contextlib.aclosing(self._performer.stream(steps)) as known:
            async for progress in known:
                yield progress

    async def server_live(self, *, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """Whether the server is up; UnavailableError when it cannot be reached."""
        return await self._performer.run(self._operations.server_live(timeout=timeout))

    async def server_ready(self, *, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """Whether every model is loaded, or known to be unavailable."""
        return await self._performer.run(self._operations.server_ready(timeout=timeout))

    async def model_ready(
        self,
        model_name: str,
        *,
        model_version: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> bool:
        """Whether a model takes requests; `repository_index` tells why not."""
        return await self._performer.run(
            self._operations.model_ready(model_name, model_version=model_version, timeout=timeout)
        )

    async def server_metadata(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> ServerMetadata:
        """Tell who answers, and which extensions of the protocol it speaks."""
        return await self._performer.run(self._operations.server_metadata(timeout=timeout))

    async def model_metadata(
        self,
        model_name: str,
        *,
        model_version: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> ModelMetadata:
        """Tell what goes into a model and what comes out."""
        return await self._performer.run(
            self._operations.model_metadata(
                model_name, model_version=model_version, timeout=timeout
            )
        )

    async def model_config(
        self,
        model_name: str,
        *,
        model_version: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> ModelConfig:
        """Tell how a model is configured: its batches, preprocessing rule and labels."""
        return await self._performer.run(
            self._operations.model_config(model_name, model_version=model_version, timeout=timeout)
        )

    async def statistics(
        self,
        model_name: str = "",
        *,
        model_version: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> list[ModelStatistics]:
        """Count what a model, or with an empty name each of them, has done."""
        return await self._performer.run(
            self._operations.statistics(model_name, model_version=model_version, timeout=timeout)
        )

    async def repository_index(
        self,
        *,
        ready_only: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> list[ModelStatus]:
        """List the models of the repository with their state, and why one is not ready."""
        return await self._performer.run(
            self._operations.repository_index(ready_only=ready_only, timeout=timeout)
        )

    async def wait_while_loading(
        self,
        model_name: str,
        *,
        model_version: str = "",
        for_explaining: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> list[ModelStatus]:
        """Wait until a model, or one version of it, is loaded or known to be unavailable."""
        return await self._performer.run(
            self._operations.wait_while_loading(
                model_name,
                model_version=model_version,
                for_explaining=for_explaining,
                timeout=timeout,
            )
        )

    async def list_methods(
        self,
        model_name: str,
        *,
        model_version: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> list[MethodDescription]:
        """List the saliency methods, their parameters, and whether they work for a model."""
        return await self._performer.run(
            self._operations.list_methods(model_name, model_version=model_version, timeout=timeout)
        )

    async def close(self) -> None:
        """Close the connection; calls that are under way are cancelled."""
        await self._performer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address!r})"
