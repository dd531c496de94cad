"""The stops of a request as spans of OpenTelemetry: the server's only door to that library.

Imported when the first trace is wanted and not before. A trace is gathered as numbers while
its request is answered, and becomes spans at the end.
"""

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

_CLOSE_SECONDS = 2.0
_Stop = tuple[str, int, int, dict[str, Any]]


class SpanWriter:
    """Sends traces to a collector, in the background.

    Args:
        endpoint: such as "http://127.0.0.1:4317"; empty for what the OTEL_* variables say.
        service_name: by which the collector knows the server; OTEL_SERVICE_NAME outweighs it.
    """

    def __init__(self, endpoint: str, service_name: str) -> None:
        named = Resource({"service.name": service_name})
        self._provider = TracerProvider(
            resource=named.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._provider.add_span_processor(_processor(endpoint))
        self._tracer = self._provider.get_tracer("eyespot.server")

    def parent(self, metadata: Sequence[tuple[str, str | bytes]]) -> tuple[Context, bool]:
        """The caller's span, by its metadata (`traceparent`), and whether it is being traced."""
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        context = propagate.extract(carrier)
        return context, trace.get_current_span(context).get_span_context().trace_flags.sampled

    def begin(self, parent: Context, service: str, method: str) -> "RequestTrace":
        """Begins the trace of one call."""
        return RequestTrace(self._tracer, parent, service, method)

    def close(self) -> None:
        """Sends what is left, if the collector takes it soon; blocks no longer than that."""
        # The library itself would ask a collector that is gone again and again.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)


class RequestTrace:
    """One request on its way; leaving the `with` block writes its spans."""

    def __init__(self, tracer: trace.Tracer, parent: Context, service: str, method: str) -> None:
        self._tracer = tracer
        self._parent = parent
        self._service, self._method = service, method
        self._attributes: dict[str, Any] = {}
        self._stops: list[_Stop] = []
        self._wall_minus_steady = time.time_ns() - time.perf_counter_ns()
        self._start = self._last = self._now()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        end = self._now()
        span = self._tracer.start_span(
            f"{self._service}/{self._method}",
            self._parent,
            SpanKind.SERVER,
            {
                "rpc.system": "grpc",
                "rpc.service": self._service,
                "rpc.method": self._method,
                **self._attributes,
            },
            start_time=self._start,
        )
        within = trace.set_span_in_context(span)
        for name, start, stop_end, attributes in self._stops:
            stop = self._tracer.start_span(
                name, within, attributes=attributes, start_time=min(start, end)
            )
            stop.end(min(stop_end, end))
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, str(error) or type(error).__name__))
        span.end(end)

    def note(self, **attributes: Any) -> None:
        """Tells something about the whole request."""
        self._attributes.update(attributes)

    def reach(self, stop: str, *, after_ns: int | None = None, **attributes: Any) -> None:
        """Tells that a stop is behind it, now or so many nanoseconds after the one before."""
        end = self._now() if after_ns is None else self._last + after_ns
        self._stops.append((stop, self._last, end, attributes))
        self._last = end

    def _now(self) -> int:
        return time.perf_counter_ns() + self._wall_minus_steady


def _processor(endpoint: str) -> SpanProcessor:
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint or None))
