"""Prometheus metrics of every model version, under Triton's suffixes, over HTTP.

Nothing is counted here: a scrape reads the statistics that the models keep anyway. The
names are those of Triton without its prefix, so they lack the `_total` of counters, and
their type is told as unknown; they count up all the same, until their model is loaded anew.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from eyespot.server.circuit_breaker import CircuitState
from eyespot.server.dataplane import Dataplane
from eyespot.server.errors import StartError
from eyespot.server.model import Model
from eyespot.server.statistics import HISTOGRAMS, Histogram, Statistics

_PREFIX = "eyespot_inference_"
_LABELS = ("model", "version")
_SCRAPE_SECONDS = 10.0

# Suffix, what it tells, and where the statistics have it. Durations are microseconds, summed.
_COUNTERS: Sequence[tuple[str, str, Callable[[Statistics], float]]] = (
    ("request_success", "Requests that were answered", lambda s: s.success.count),
    ("count", "Rows that were inferred", lambda s: s.inference_count),
    ("exec_count", "Batches that were run", lambda s: s.execution_count),
    (
        "request_duration_us",
        "Time of answered requests, from arrival to answer",
        lambda s: s.success.ns / 1000,
    ),
    (
        "queue_duration_us",
        "Time that answered requests waited for a session",
        lambda s: s.queue.ns / 1000,
    ),
    (
        "compute_input_duration_us",
        "Time that joining requests took",
        lambda s: s.requests.compute_input.ns / 1000,
    ),
    (
        "compute_infer_duration_us",
        "Time that requests were in the session",
        lambda s: s.requests.compute_infer.ns / 1000,
    ),
    (
        "compute_output_duration_us",
        "Time that taking results apart took",
        lambda s: s.requests.compute_output.ns / 1000,
    ),
    (
        "explain_failure",
        "Calls for attributions that got no answer",
        lambda s: s.explain_fail.count,
    ),
)


class MetricsServer:
    """Answers scrapes until it is closed; make it on the event loop of the server.

    Args:
        dataplane: whose models are told of.
        host: to listen on.
        port: to listen on.
        restarts: how often a supervisor has started the server anew.

    Raises:
        StartError: the port cannot be used, or the library is missing.
    """

    def __init__(self, dataplane: Dataplane, *, host: str, port: int, restarts: int = 0) -> None:
        try:
            import prometheus_client as prometheus
        except ModuleNotFoundError as error:
            if error.name != "prometheus_client":
                raise
            raise StartError(
                "metrics need prometheus-client, which is not installed: "
                "pip install 'eyespot[serve]'"
            ) from None
        registry = prometheus.CollectorRegistry()
        registry.register(_Collector(dataplane, asyncio.get_running_loop()))
        prometheus.Gauge(
            "eyespot_server_restarts",
            "How often the supervisor has started the server anew",
            registry=registry,
        ).set(restarts)
        prometheus.ProcessCollector(registry=registry)
        try:
            self._server, self._thread = prometheus.start_http_server(port, host, registry)
        except OSError as error:
            raise StartError(
                f"metrics cannot be served on {host} port {port}: {error.strerror or error}; "
                "choose another --metrics-port"
            ) from error

    def close(self) -> None:
        """Ends; a scrape that is under way is answered."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Collector:
    """Reads the statistics on the event loop that writes them."""

    def __init__(self, dataplane: Dataplane, loop: asyncio.AbstractEventLoop) -> None:
        self._dataplane = dataplane
        self._loop = loop

    def collect(self) -> Iterable[Any]:
        """What one scrape tells."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            reading = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
            return reading.result(_SCRAPE_SECONDS)
        return []  # asked for its names while it is registered

    async def _read(self) -> list[Any]:
        return list(_families(self._dataplane.models()))


def _families(models: Sequence[Model]) -> Iterator[Any]:
    from prometheus_client.core import HistogramMetricFamily, UnknownMetricFamily

    labelled = [((model.name, model.version), model) for model in models]
    for suffix, text, of in _COUNTERS:
        family = UnknownMetricFamily(_PREFIX + suffix, text, labels=_LABELS)
        for labels, model in labelled:
            family.add_metric(labels, of(model.statistics))
        yield family
    failures = UnknownMetricFamily(
        _PREFIX + "request_failure", "Requests that got no answer", labels=(*_LABELS, "reason")
    )
    waiting = UnknownMetricFamily(
        _PREFIX + "pending_request_count", "Requests that wait now", labels=_LABELS
    )
    for labels, model in labelled:
        for reason, count in model.statistics.failures.items():
            failures.add_metric((*labels, reason), count)
        waiting.add_metric(labels, model.queue_size)
    yield from (failures, waiting, *_fault_families(labelled))
    for name, text in HISTOGRAMS.items():
        histograms = HistogramMetricFamily(_PREFIX + name, text, labels=_LABELS)
        for labels, model in labelled:
            found: Histogram = getattr(model.statistics, name)
            histograms.add_metric(labels, found.cumulative(), found.total)
        yield histograms


def _fault_families(labelled: Sequence[tuple[tuple[str, str], Model]]) -> Sequence[Any]:
    from prometheus_client.core import GaugeMetricFamily, UnknownMetricFamily

    faults = UnknownMetricFamily(
        _PREFIX + "fault_count",
        "Runs that failed on good inputs, threads that died, memory too small, explaining",
        labels=(*_LABELS, "kind"),
    )
    rebuilds = UnknownMetricFamily(
        _PREFIX + "session_rebuild_count", "Sessions that were made anew", labels=_LABELS
    )
    circuit = GaugeMetricFamily(
        _PREFIX + "circuit_state",
        "1 for the state that holds: only while closed is the model asked anything",
        labels=(*_LABELS, "state"),
    )
    for labels, model in labelled:
        for kind, count in model.statistics.faults.items():
            faults.add_metric((*labels, kind), count)
        faults.add_metric((*labels, "explain"), model.explain_faults)
        rebuilds.add_metric(labels, model.rebuilds)
        for state in CircuitState:
            circuit.add_metric((*labels, state.value), state is model.circuit)
    return faults, rebuilds, circuit
