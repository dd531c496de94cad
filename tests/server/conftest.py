"""A repository to fill, a server on port 0 in front of it, and batchers under made-up time."""

import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.server.batching import Executor, FakeClock
from tests.server.explaining import LinearBackend
from tests.server.tiny import Client, Repository

from eyespot.server.app import Server
from eyespot.server.config import ServerConfig
from eyespot.server.explainer import Explainer

Serving = Callable[..., AbstractAsyncContextManager[tuple[Server, Client]]]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    path = tmp_path / "repository"
    path.mkdir()
    return Repository(path)


@pytest.fixture
def notes() -> Iterator[int]:
    """The descriptor of a supervisor's file."""
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


@pytest.fixture
def serving(repository: Repository) -> Serving:
    """`async with serving(**settings) as (server, client)`: loaded and ready."""

    @asynccontextmanager
    async def open_server(**settings: Any) -> AsyncIterator[tuple[Server, Client]]:
        server = Server(ServerConfig(repository=repository.path, port=0, **settings))
        await server.start()
        try:
            await server.load()
            options = [("grpc.max_send_message_length", -1)]
            async with grpc.aio.insecure_channel(server.address, options=options) as channel:
                yield server, Client(channel, server.address)
        finally:
            await server.stop()

    return open_server


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def executor() -> Executor:
    return Executor()


@pytest.fixture
def backend() -> LinearBackend:
    return LinearBackend()


@pytest.fixture
def explainer(backend: LinearBackend) -> Iterator[Explainer]:
    explainer = Explainer("tiny", backend=backend, max_queue_size=2, max_batch_size=4)
    yield explainer
    backend.gate.set()
    explainer.close()
