"""A server whose calls are made in process, from bytes to bytes, or through a real socket."""

import asyncio
import inspect
import logging
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
from tests.fuzz.fault import FaultError
from tests.fuzz.models import CANARY, write_captured, write_models

from eyespot.server.app import Server
from eyespot.server.config import ServerConfig
from eyespot.server.gate import Gate, GuardedService
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.services import INFERENCE_SERVICE
from eyespot.v1.tensors import encode

# Inputs name this object of shared memory; each process has one of its own, whose name is as long.
REGION, REGION_KEY, REGION_BYTES = "region", "eyespot-fuzz-key", 4096
_OBJECTS = Path("/dev/shm")
_DEADLINE_SECONDS = 2.0
_OURS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
# Said by gRPC's client to itself where it is refused before it has sent all of a stream.
_CLIENTS_OWN = "Internal error from Core"


def region_object(pid: int) -> Path:
    """The object of shared memory of a process that fuzzes."""
    return _OBJECTS / f"eyespot-{pid:08}"


_OBJECT = region_object(os.getpid())


class Served:
    """What the targets run against."""

    def __init__(self, server: Server, channel: grpc.aio.Channel, folder: Path) -> None:
        self.config = server.config
        self.folder = folder  # to write models into
        self._server = server
        self._channel = channel
        self._handlers = [GuardedService(handler, Gate()) for _, handler in server._services]
        self._faults = _LastFault()

    async def call(self, path: str, messages: Sequence[bytes]) -> str:
        """Makes a call in process; says its status.

        Raises:
            FaultError: The status is UNKNOWN or INTERNAL.
        """
        task = asyncio.ensure_future(self._answer(path, messages))  # a context of its own
        try:
            await task
        except _AbortedError as aborted:
            self._judge(aborted.code, aborted.details)
            return aborted.code.name
        except Exception as error:  # gRPC would say UNKNOWN
            raise FaultError(f"{type(error).__name__} out of {path}", cause=error) from error
        return "OK"

    async def call_by_socket(
        self, path: str, messages: Sequence[bytes], metadata: Sequence[tuple[str, str | bytes]]
    ) -> str:
        """Makes a call through gRPC, bytes as they are; says its status.

        Raises:
            FaultError: The status is UNKNOWN or INTERNAL.
        """
        ask: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(path)
        try:
            async for _ in ask(iter(messages), metadata=metadata, timeout=_DEADLINE_SECONDS):
                pass
        except grpc.aio.AioRpcError as error:
            if error.details() == _CLIENTS_OWN:
                return "CUT_OFF"
            self._judge(error.code(), error.details() or "")
            return error.code().name
        return "OK"

    async def ask_canary(self) -> None:
        """Makes sure that the server still answers, and answers right.

        Raises:
            FaultError: It does not.
        """
        request = pb.ModelInferRequest(model_name=CANARY)
        request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
        request.raw_input_contents.append(encode(np.array([[1, 2, 3, 4]], np.float32), "FP32"))
        method = f"/{INFERENCE_SERVICE}/ModelInfer"
        raw = await self._ask(method, request.SerializeToString())
        answered = pb.ModelInferResponse.FromString(raw).raw_output_contents
        if list(answered) != [encode(np.array([[3, 5, 7, 9]], np.float32), "FP32")]:
            raise FaultError("a sound request was answered wrongly afterwards")
        await self._renew_region()

    async def _renew_region(self) -> None:
        """Other inputs register regions, and forget them."""
        _OBJECT.write_bytes(bytes(REGION_BYTES))
        region = pb.SystemSharedMemoryRegisterRequest(
            name=REGION, key=_OBJECT.name, byte_size=REGION_BYTES
        )
        service = f"/{INFERENCE_SERVICE}/SystemSharedMemory"
        await self._ask(service + "Unregister", b"")
        await self._ask(service + "Register", region.SerializeToString())

    async def _ask(self, path: str, message: bytes) -> bytes:
        try:
            (raw,) = await self._answer(path, [message])
        except _AbortedError as aborted:
            told = f"a sound request was refused afterwards: {aborted.code.name}"
            raise FaultError(told, cause=self._faults.take()) from aborted
        return raw

    async def _answer(self, path: str, messages: Sequence[bytes]) -> list[bytes]:
        details = SimpleNamespace(method=path, invocation_metadata=())
        found = (handler.service(details) for handler in self._handlers)
        handler: Any = next((each for each in found if each is not None), None)
        if handler is None:
            raise _AbortedError(grpc.StatusCode.UNIMPLEMENTED, "")
        context = _Context()
        requests = [
            handler.request_deserializer(raw.replace(REGION_KEY.encode(), _OBJECT.name.encode()))
            for raw in messages
        ]
        if handler.unary_unary is not None:
            answers = [await handler.unary_unary(requests[0], context)]
        elif handler.unary_stream is not None:
            answers = [answer async for answer in handler.unary_stream(requests[0], context)]
        else:
            if inspect.isasyncgenfunction(handler.stream_stream):  # as gRPC asks: it is refused
                answers = [a async for a in handler.stream_stream(_stream(requests), context)]
            else:
                await handler.stream_stream(_stream(requests), context)
                answers = context.written
            self._judge_stream(answers)
        return [handler.response_serializer(answer) for answer in answers]

    def _judge_stream(self, answers: Sequence[Any]) -> None:
        for answer in answers:
            if answer.error_message.startswith("internal error"):
                raise FaultError("internal error in a stream", cause=self._faults.take())

    def _judge(self, code: grpc.StatusCode, details: str) -> None:
        if code in _OURS:
            raise FaultError(f"{code.name}: {details}", cause=self._faults.take())


@asynccontextmanager
async def serving(folder: Path, *, with_original: bool) -> AsyncIterator[Served]:
    """A server over the models of `models.py`; an original takes some seconds to export."""
    repository, scratch = folder / "repository", folder / "scratch"
    repository.mkdir()
    scratch.mkdir()
    write_models(repository)
    if with_original:
        write_captured(repository)
    config = ServerConfig(
        repository=repository,
        port=0,
        model_control_mode="explicit",
        load_model="*",
        load_files=True,
        shared_memory=True,
        shared_memory_prefix="eyespot-",
        explain_memory_mib=64,
    )
    server = Server(config)
    try:
        await server.start()
        await server.load()
        async with grpc.aio.insecure_channel(server.address) as channel:
            served = Served(server, channel, scratch)
            with served._faults.listening():
                await served.ask_canary()
                yield served
    finally:
        await server.stop()
        _OBJECT.unlink(missing_ok=True)


class _AbortedError(Exception):
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(code, details)
        self.code, self.details = code, details


class _Context:
    """What a servicer asks of a call."""

    def __init__(self) -> None:
        self.written: list[Any] = []

    async def write(self, answer: Any) -> None:
        self.written.append(answer)

    async def abort(self, code: grpc.StatusCode, details: str = "", _: Any = ()) -> None:
        raise _AbortedError(code, details)

    def time_remaining(self) -> float:
        return _DEADLINE_SECONDS

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"


class _LastFault(logging.Handler):
    """Keeps the exception that the server has logged last: callers get an id only."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._last: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self._last = record.exc_info[1]

    def take(self) -> BaseException | None:
        """Gives it once."""
        last, self._last = self._last, None
        return last

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The log goes here and nowhere else."""
        loggers = [logging.getLogger(), logging.getLogger("eyespot")]
        before = [(logger, logger.level, logger.propagate) for logger in loggers]
        loggers[1].addHandler(self)
        loggers[1].propagate = False
        try:
            yield
        finally:
            loggers[1].removeHandler(self)
            for logger, level, propagate in before:
                logger.setLevel(level)
                logger.propagate = propagate


async def _stream(requests: Sequence[Any]) -> AsyncIterator[Any]:
    for request in requests:
        yield request
