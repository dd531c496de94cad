"""The server: starts, loads, listens to signals, drains, ends.

Connections are accepted before the models are loaded, so that ServerLive is answered
while ServerReady still says no. SIGTERM and SIGINT end it: nothing more is admitted,
what was admitted is answered, and the exit code is 0, or 1 where `drain_seconds` were too
few for that. A second
SIGINT ends it at once, and SIGHUP reads anew what can be (signals.py, reloading.py).
"""

import asyncio
import logging
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from grpc_health.v1 import health, health_pb2

from eyespot.server.config import ServerConfig
from eyespot.server.dataplane import Dataplane, ModelState
from eyespot.server.door import Door, open_doors
from eyespot.server.entrances import Entrances
from eyespot.server.errors import StartError, UnimplementedError
from eyespot.server.explain_servicer import ExplainServicer
from eyespot.server.first_loads import FirstLoads
from eyespot.server.loader import Loader, advice_on_unserved
from eyespot.server.logs import Log, LogSettings
from eyespot.server.operations_servicer import OperationsServicer
from eyespot.server.picture_decoding import PictureDecoder
from eyespot.server.process_memory import give_back, keep_tensors
from eyespot.server.reloading import ReadSettings, Reloading
from eyespot.server.servicer import InferenceServicer
from eyespot.server.shared_memory import SharedMemory
from eyespot.server.signals import listening_to_signals
from eyespot.server.supervised import Parent
from eyespot.server.tokens import TokenFile
from eyespot.server.tracing import ENDPOINT_VARIABLES, TraceSettings, Tracing
from eyespot.v1.services import (
    EXPLAIN_SERVICE,
    INFERENCE_SERVICE,
    generic_handler,
)

if TYPE_CHECKING:
    from eyespot.server.metrics import MetricsServer

_SERVICES = (INFERENCE_SERVICE, EXPLAIN_SERVICE)
# After the last answer: what gRPC still needs to hand it to the network.
_FLUSH_SECONDS = 5.0
# A call that reaches gRPC while it stops is answered CANCELLED, which no client repeats.
# So calls are refused in our own words until none has come for a while.
_QUIET_SECONDS = 0.2
_MOST_QUIET_WAITS = 10
_logger = logging.getLogger(__name__)


class Server:
    """One gRPC server over one model repository; use it from one event loop.

    Args:
        config: the settings.
        log: what calls may change; the process's own.
        read_settings: gives the settings as they are now.
        parent: the supervisor of the process, if it has one.
        first: what is being loaded already.
    """

    def __init__(
        self,
        config: ServerConfig,
        log: Log | None = None,
        *,
        read_settings: ReadSettings | None = None,
        parent: Parent | None = None,
        first: FirstLoads | None = None,
    ) -> None:
        self.config = config
        self._log = log or Log(LogSettings.from_level(config.log_level, config.log_format))
        self._read_settings = read_settings
        self._parent = parent
        self._reloading: Reloading | None = None
        self.dataplane = Dataplane(advice=partial(advice_on_unserved, config))
        self._loader = Loader(self.dataplane, config, on_change=self._tell_health, first=first)
        self._doors: list[Door] = []
        self._following: asyncio.Task[None] | None = None
        self._metrics: MetricsServer | None = None
        self._health = health.aio.HealthServicer()
        self._shared_memory = SharedMemory(
            is_enabled=config.shared_memory, prefix=config.shared_memory_prefix
        )
        self._tracing = Tracing(
            config.trace_endpoint,
            TraceSettings(is_on=_wants_traces(config), rate=config.trace_rate),
            service_name=config.server_id,
        )
        self._pictures = PictureDecoder(
            most_requests=config.max_queue_size, most_bytes=config.max_request_mib << 20
        )
        entrances = Entrances(
            self.dataplane, self._shared_memory, self._pictures if config.decode_images else None
        )
        inference = InferenceServicer(
            self.dataplane, entrances, server_id=config.server_id, tracing=self._tracing
        )
        operations = OperationsServicer(
            self.dataplane,
            self._loader,
            entrances=entrances,
            shared_memory=self._shared_memory,
            log=self._log,
            tracing=self._tracing,
        )
        explain = ExplainServicer(entrances, tracing=self._tracing)
        self._services = (
            (INFERENCE_SERVICE, generic_handler(INFERENCE_SERVICE, inference)),
            (INFERENCE_SERVICE, generic_handler(INFERENCE_SERVICE, operations)),
            (EXPLAIN_SERVICE, generic_handler(EXPLAIN_SERVICE, explain)),
        )

    async def start(self) -> None:
        """Begins to accept connections; the models are not loaded yet.

        Raises:
            StartError: the address cannot be used, or the device, or the repository.
        """
        if self._parent is not None:
            self._parent.end_with_it()
        self._open_tracing()
        self._loader.begin()
        for name in ("", *_SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        if self.config.metrics_port:
            from eyespot.server.metrics import MetricsServer  # not for every start

            host = self.config.admin_host if self.config.admin_port else self.config.host
            restarts = self._parent.restarts if self._parent is not None else 0
            self._metrics = MetricsServer(
                self.dataplane, host=host, port=self.config.metrics_port, restarts=restarts
            )
            _logger.info("metrics on http://%s:%d", host, self.config.metrics_port)
        path = self.config.token_file
        tokens = None if path is None else TokenFile(path)
        self._reloading = Reloading(
            self.config,
            read=self._read_settings,
            log=self._log,
            loader=self._loader,
            tokens=tokens,
        )
        await open_doors(self._doors, self._services, self._health, self.config, tokens=tokens)

    @property
    def port(self) -> int:
        """The port that was taken; 0 before the start."""
        return self._doors[0].port if self._doors else 0

    @property
    def address(self) -> str:
        """Where connections are accepted, with the port that was taken."""
        return self._doors[0].address

    async def load(self) -> None:
        """Loads every model; afterwards each is ready, or unavailable with its reason.

        Only then is the port file written: who waits for it may call at once.

        Raises:
            StartError: nothing can be served at all, or with `strict` not everything.
        """
        await self._loader.load_all()
        if self.config.strict and not self._are_all_ready:
            raise StartError("--strict: ending because of the unavailable models above")
        give_back()
        if self.config.low_memory:
            keep_tensors()
        for name in ("", *_SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        if self.config.port_file is not None:
            _write_port(self.config.port_file, self.port)
        states = [entry.state for entry in self.dataplane.index()]
        _logger.info(
            "serving on %s",
            self.address,
            extra={
                "models_ready": states.count(ModelState.READY),
                "models_unavailable": states.count(ModelState.UNAVAILABLE),
            },
        )
        if ModelState.READY not in states:
            _logger.warning("no model is ready%s", self._loader.hint())
        if self.config.model_control_mode == "poll":
            self._following = asyncio.ensure_future(self._loader.follow())
        if self._parent is not None:
            self._parent.tell_ready()

    @property
    def _are_all_ready(self) -> bool:
        """Whether every version is; those that a call wanted are no matter of the start."""
        return all(
            entry.state is ModelState.READY or self._loader.is_known_by_call(entry.model_name)
            for entry in self.dataplane.index()
        )

    async def reload(self) -> None:
        """Reads settings, tokens, certificates and the repository anew; once it has started."""
        if self._reloading is not None:
            await self._reloading.run()

    async def drain(self) -> bool:
        """Admits nothing more and finishes what was admitted; says whether all of it was."""
        self._follow_no_more()
        await self._health.enter_graceful_shutdown()
        _logger.info("shutting down: finishing what was admitted")
        is_complete = True
        try:
            await asyncio.wait_for(
                asyncio.gather(self.dataplane.drain(), self._loader.drain()),
                self.config.drain_seconds,
            )
        except TimeoutError:
            is_complete = False
            _logger.error(
                "calls were cut off: not finished within %s seconds", self.config.drain_seconds
            )
        else:
            await self._wait_for_quiet()
        await self.stop(grace=_FLUSH_SECONDS if is_complete else 0.0)
        _logger.info("stopped")
        return is_complete

    async def stop(self, *, grace: float = 0.0) -> None:
        """Closes the connections, `grace` seconds from now at the latest, and the models."""
        self._follow_no_more()
        await asyncio.gather(*(door.close(grace) for door in self._doors))
        self._loader.close()
        self._pictures.close()
        self._shared_memory.close()
        if self._metrics is not None:
            await asyncio.to_thread(self._metrics.close)
            self._metrics = None
        await asyncio.to_thread(self._tracing.close)
        self.dataplane.close()

    def _open_tracing(self) -> None:
        if not self._tracing.settings().is_on:
            return
        try:
            self._tracing.open()
        except UnimplementedError as error:
            if self.config.trace_endpoint:
                raise StartError(str(error)) from error
            # A variable of the whole machine is no reason not to serve.
            _logger.warning("OTEL_* variables ask for traces, but %s", error)
        else:
            endpoint = self.config.trace_endpoint or "what the OTEL_* variables say"
            _logger.info("traces go to %s", endpoint)

    async def _wait_for_quiet(self) -> None:
        for _ in range(_MOST_QUIET_WAITS):
            before = self.dataplane.late_calls
            await asyncio.sleep(_QUIET_SECONDS)
            if self.dataplane.late_calls == before:
                return

    def _follow_no_more(self) -> None:
        if self._following is not None:
            self._following.cancel()

    async def _tell_health(self, model_name: str) -> None:
        is_ready = self.dataplane.is_model_ready(model_name)
        status = health_pb2.HealthCheckResponse
        await self._health.set(model_name, status.SERVING if is_ready else status.NOT_SERVING)


async def serve(
    config: ServerConfig,
    log: Log | None = None,
    *,
    read_settings: ReadSettings | None = None,
    first: FirstLoads | None = None,
) -> int:
    """Serves until SIGTERM or SIGINT, and returns the exit code.

    Args:
        config: the settings.
        log: what calls may change; the process's own.
        read_settings: gives the settings as they are now, at SIGHUP.
        first: what is being loaded already.
    """
    parent = Parent.from_environment(os.environ)
    server = Server(config, log, read_settings=read_settings, parent=parent, first=first)
    is_stopping, wants_reload = asyncio.Event(), asyncio.Event()
    with listening_to_signals(drain=is_stopping.set, reload=wants_reload.set):
        try:
            await server.start()
            loading = asyncio.ensure_future(server.load())
            stopping = asyncio.ensure_future(is_stopping.wait())
            await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                loading.result()
            reloading = asyncio.ensure_future(_reload_whenever(wants_reload, server))
            await stopping
            loading.cancel()
            reloading.cancel()
            return 0 if await server.drain() else 1
        except StartError:
            await server.stop()
            raise


async def _reload_whenever(is_wanted: asyncio.Event, server: Server) -> None:
    while True:
        await is_wanted.wait()
        is_wanted.clear()
        await server.reload()


def _wants_traces(config: ServerConfig) -> bool:
    return bool(config.trace_endpoint) or any(map(os.environ.get, ENDPOINT_VARIABLES))


def _write_port(path: Path, port: int) -> None:
    """Writes the port file at once and whole; a disk that is full is no reason not to serve."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(f"{port}\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        _logger.error("the port file %s cannot be written: %s", path, error.strerror)
        with suppress(OSError):
            temporary.unlink()
