"""A span for each call, where the program traces by OpenTelemetry: the first stop of a request.

Nothing is imported for it. A program that has loaded OpenTelemetry gets a span, and the server
hears of it by `traceparent`, so that what the server traces belongs to it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

Metadata = tuple[tuple[str, str], ...]


@contextmanager
def calling(method: str) -> Iterator[Metadata]:
    """Be within the span of a call, and give the metadata that tells the server of it."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        yield ()
        return
    from opentelemetry import propagate

    tracer = trace.get_tracer("eyespot.client")
    with tracer.start_as_current_span(f"client/{method}", kind=trace.SpanKind.CLIENT):
        headers: dict[str, str] = {}
        propagate.inject(headers)
        yield tuple(headers.items())
