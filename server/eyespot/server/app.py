"""The server as a process: starts, loads, listens to signals, drains, ends.

Connections are accepted before the models are loaded, so that ServerLive is answered
while ServerReady still says no. SIGTERM and SIGINT end it: nothing more is admitted,
what was admitted is answered within `drain_seconds`, and the exit code is 0.
"""

import asyncio
import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from eyespot.server.config import ServerConfig, unknown_variables
from eyespot.server.dataplane import Dataplane, ModelState
from eyespot.server.errors import RepositoryError, StartError
from eyespot.server.explain_servicer import ExplainServicer
from eyespot.server.listening import check_address
from eyespot.server.logs import configure_logging
from eyespot.server.model import Model, load_version
from eyespot.server.repository import BrokenModel, VersionFolder, scan, suggest_repository
from eyespot.server.servicer import InferenceServicer, Signatures
from eyespot.server.session import check_device
from eyespot.v1.services import (
    EXPLAIN_SERVICE,
    INFERENCE_SERVICE,
    generic_handler,
    reflection_pool,
)

_SERVICES = (INFERENCE_SERVICE, EXPLAIN_SERVICE)
_MIB = 1024 * 1024
# After the last answer: what gRPC still needs to hand it to the network.
_FLUSH_SECONDS = 5.0
# A call that reaches gRPC while it stops is answered CANCELLED, which no client repeats.
# So calls are refused in our own words until none has come for a while.
_QUIET_SECONDS = 0.2
_MOST_QUIET_WAITS = 10
_logger = logging.getLogger(__name__)


class Server:
    """One gRPC server over one model repository; use it from one event loop."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.dataplane = Dataplane()
        self.port = 0
        self._found: list[VersionFolder | BrokenModel] = []
        self._health = health.aio.HealthServicer()
        self._loaders = ThreadPoolExecutor(
            max(1, len(os.sched_getaffinity(0))), thread_name_prefix="load"
        )
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", config.max_request_mib * _MIB),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # a second server on the port is a mistake to be told
            ]
        )
        signatures = Signatures()
        self._server.add_generic_rpc_handlers(
            (
                generic_handler(INFERENCE_SERVICE, InferenceServicer(self.dataplane, signatures)),
                generic_handler(EXPLAIN_SERVICE, ExplainServicer(self.dataplane, signatures)),
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME),
            self._server,
            pool=reflection_pool(),
        )

    async def start(self) -> None:
        """Begins to accept connections; the models are not loaded yet.

        Raises:
            StartError: the address cannot be used, or the device, or the repository.
        """
        check_device(self.config.device)
        self._found = scan(self.config.repository)
        for name in ("", *_SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        check_address(self.config.host, self.config.port)
        try:
            self.port = self._server.add_insecure_port(self.config.address)
        except RuntimeError as error:
            raise StartError(f"cannot listen on {self.config.address}: {error}") from error
        await self._server.start()
        _logger.info("listening on %s", self.address)

    @property
    def address(self) -> str:
        """Where connections are accepted, with the port that was taken."""
        return f"{self.config.address.rpartition(':')[0]}:{self.port}"

    async def load(self) -> None:
        """Loads every model; afterwards each is ready, or unavailable with its reason.

        Only then is the port file written: who waits for it may call at once.

        Raises:
            StartError: nothing can be served at all.
        """
        folders = []
        for found in self._found:
            if isinstance(found, BrokenModel):
                self._mark_unavailable(found.model_name, found.model_version, found.reason)
            else:
                self.dataplane.expect(found.model_name, found.model_version)
                folders.append(found)
        self.dataplane.expect_no_more()
        await asyncio.gather(*(self._load_version(folder) for folder in folders))
        for name in ("", *_SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        if self.config.port_file is not None:
            _write_atomically(self.config.port_file, f"{self.port}\n")
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
            _logger.warning("no model is ready%s", self._hint())

    async def drain(self) -> bool:
        """Admits nothing more and finishes what was admitted; says whether all of it was."""
        await self._health.enter_graceful_shutdown()
        _logger.info("shutting down: finishing what was admitted")
        is_complete = True
        try:
            await asyncio.wait_for(self.dataplane.drain(), self.config.drain_seconds)
        except TimeoutError:
            is_complete = False
            _logger.error(
                "calls were cut off: not finished within %s seconds", self.config.drain_seconds
            )
        else:
            await self._wait_for_quiet()
        await self.stop(grace=_FLUSH_SECONDS if is_complete else 0.0)
        return is_complete

    async def stop(self, *, grace: float = 0.0) -> None:
        """Closes the connections, `grace` seconds from now at the latest, and the models."""
        await self._server.stop(grace)
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self.dataplane.close()

    async def _wait_for_quiet(self) -> None:
        for _ in range(_MOST_QUIET_WAITS):
            before = self.dataplane.late_calls
            await asyncio.sleep(_QUIET_SECONDS)
            if self.dataplane.late_calls == before:
                return

    async def _load_version(self, folder: VersionFolder) -> None:
        name, version = folder.model_name, folder.model_version
        loop = asyncio.get_running_loop()
        try:
            loaded = await loop.run_in_executor(self._loaders, load_version, folder, self.config)
        except RepositoryError as error:
            self._mark_unavailable(name, version, str(error))
        except StartError:
            raise
        except Exception as error:
            # Ours, but no reason to keep the other models from being served.
            _logger.exception("model %s version %s failed to load", name, version)
            self._mark_unavailable(name, version, f"{type(error).__name__}: {error}")
        else:
            self.dataplane.add(Model(loaded, self.config))
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
            _logger.info("model %s version %s is ready", name, version)

    def _hint(self) -> str:
        """What may help where no model is ready."""
        repository = self.config.repository
        meant = suggest_repository(repository)
        if meant is not None:
            return f"; is {meant} meant?"
        if self._found:
            return ": the reasons are above"
        return f": nothing was found, expected {repository}/<model>/<version>/model.onnx"

    def _mark_unavailable(self, name: str, version: str, reason: str) -> None:
        self.dataplane.mark_unavailable(name, version, reason)
        _logger.error("model %s version %s is unavailable: %s", name, version or "-", reason)


async def serve(config: ServerConfig) -> int:
    """Serves until SIGTERM or SIGINT, and returns the exit code."""
    server = Server(config)
    is_stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, is_stopping.set)
    try:
        await server.start()
        loading = asyncio.ensure_future(server.load())
        stopping = asyncio.ensure_future(is_stopping.wait())
        await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            if config.strict and not _are_all_ready(server.dataplane):
                _logger.error("--strict: ending because of the unavailable models above")
                await server.stop()
                return 1
        await stopping
        loading.cancel()
        return 0 if await server.drain() else 1
    except StartError:
        await server.stop()
        raise
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def run(config: ServerConfig) -> int:
    """Serves in an event loop of its own, with logging set up, and returns the exit code."""
    configure_logging(config.log_level, config.log_format)
    if unknown := unknown_variables(os.environ):
        _logger.warning(
            "environment variables that are no settings are ignored: %s", ", ".join(unknown)
        )
    try:
        return asyncio.run(serve(config))
    except StartError as error:
        _logger.error("%s", error)
        return 1


def _are_all_ready(dataplane: Dataplane) -> bool:
    return all(entry.state is ModelState.READY for entry in dataplane.index())


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
