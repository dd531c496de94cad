"""Which requests leave a trace, in the words of the protocol's trace extension.

OpenTelemetry is an extra, and nothing of it is imported before a trace is wanted. A caller's
own trace is always continued; of the other requests every `rate`-th is traced, until `count`
of them were.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from eyespot.server.errors import UnimplementedError
from eyespot.v1.services import INFERENCE_SERVICE

if TYPE_CHECKING:
    from eyespot.server.spans import RequestTrace, SpanWriter

# Variables of OpenTelemetry by which a whole machine is told where its traces go.
ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@dataclass(frozen=True, kw_only=True)
class TraceSettings:
    """Which requests are traced.

    `is_on` is Triton's trace_level TIMESTAMPS; a `count` of -1 has no end.
    """

    is_on: bool = False
    rate: int = 1
    count: int = -1


class NoTrace:
    """What a request has that leaves no trace."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def note(self, **attributes: Any) -> None:
        """Does nothing."""

    def reach(self, stop: str, *, after_ns: int | None = None, **attributes: Any) -> None:
        """Does nothing."""


_NO_TRACE = NoTrace()


class Tracing:
    """The traces of one server; use it from one event loop.

    Args:
        endpoint: of an OTLP collector over gRPC; empty for what the OTEL_* variables say.
        settings: those at the start.
        service_name: by which the collector knows the server.
    """

    def __init__(self, endpoint: str, settings: TraceSettings, *, service_name: str) -> None:
        self.endpoint = endpoint
        self._at_start = settings
        self._service_name = service_name
        self._writer: SpanWriter | None = None
        # By the name of a model, and "" for all others: what differs from the level above.
        self._changes: dict[str, dict[str, Any]] = {"": {}}
        self._samplers = {"": _Sampler(settings)}

    def open(self) -> None:
        """Gets ready to write traces; blocks for the import of the library.

        Raises:
            UnimplementedError: it is not installed.
        """
        if self._writer is not None:
            return
        try:
            from eyespot.server.spans import SpanWriter
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "opentelemetry":
                raise
            raise UnimplementedError(
                "tracing needs OpenTelemetry, which is not installed: "
                "pip install 'eyespot[tracing]'"
            ) from None
        self._writer = SpanWriter(self.endpoint, self._service_name)

    def settings(self, model_name: str = "") -> TraceSettings:
        """What holds for a model, or for all that have nothing of their own."""
        sampler = self._sampler(model_name)
        return replace(sampler.settings, count=sampler.remaining)

    async def change(self, changes: Mapping[str, Any], *, model_name: str = "") -> None:
        """Traces other requests from now on.

        Args:
            changes: Fields of TraceSettings; None takes back what was changed.
            model_name: Of the only model that is meant; empty for all.

        Raises:
            UnimplementedError: traces are wanted, and the library is not installed.
        """
        if changes.get("is_on"):
            await asyncio.to_thread(self.open)
        own = self._changes.setdefault(model_name, {})
        for name, value in changes.items():
            own.pop(name, None)
            if value is not None:
                own[name] = value
        if model_name and not own:
            del self._changes[model_name]
        everywhere = replace(self._at_start, **self._changes[""])
        before = self._samplers
        self._samplers = {
            name: _Sampler(replace(everywhere, **own)) for name, own in self._changes.items()
        }
        for name, sampler in self._samplers.items():  # what is not changed goes on counting
            if name in before and "count" not in changes:
                sampler.remaining = before[name].remaining

    def trace(
        self, context: Any, method: str, model_name: str, *, service: str = INFERENCE_SERVICE
    ) -> "RequestTrace | NoTrace":
        """What notes the way of a request: its trace, or nothing.

        Args:
            context: Of the gRPC call.
            method: Its name.
            model_name: Of the model that is asked.
            service: Its full name.
        """
        if self._writer is None:
            return _NO_TRACE
        sampler = self._sampler(model_name)
        if not sampler.settings.is_on:
            return _NO_TRACE
        parent, is_traced = self._writer.parent(context.invocation_metadata() or ())
        if not sampler.takes(is_traced=is_traced):
            return _NO_TRACE
        return self._writer.begin(parent, service, method)

    def close(self) -> None:
        """Sends the traces that are left; blocks for a moment."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _sampler(self, model_name: str) -> "_Sampler":
        return self._samplers.get(model_name) or self._samplers[""]


class _Sampler:
    """Says of each request whether it is traced."""

    def __init__(self, settings: TraceSettings) -> None:
        self.settings = settings
        self.remaining = settings.count
        self._seen = 0

    def takes(self, *, is_traced: bool) -> bool:
        """Whether the next request is; one that its caller traces always, while any are left."""
        if not is_traced:
            self._seen += 1
            if self._seen % self.settings.rate:
                return False
        if self.remaining == 0:
            return False
        self.remaining -= self.remaining > 0
        return True
