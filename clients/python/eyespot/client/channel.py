"""The connection to a server, and which service each call belongs to."""

from __future__ import annotations

from typing import Any

import grpc

from eyespot.client.errors import ClientError
from eyespot.client.spans import Metadata
from eyespot.client.steps import Call
from eyespot.v1.services import ExplainStub, InferenceStub

DEFAULT_PORT = 8001
DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"
DEFAULT_TIMEOUT = 60.0

CHANNEL_OPTIONS = (
    # Tensors are large; what is too large is the server's to say.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # gRPC waits longer and longer before it connects again, up to two minutes, and fails
    # every call meanwhile. A server that has been restarted is to be found soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def server_address(text: str) -> str:
    """Complete HOST by the port: left to itself, gRPC would take that of HTTPS.

    Raises:
        ClientError: It is a URL, or the port is no number.
    """
    expected = f"expected HOST or HOST:PORT, such as {DEFAULT_ADDRESS}"
    if "://" in text:
        raise ClientError(f"{text!r} is a URL: {expected}")
    if text.startswith("unix:"):
        return text
    if text.count(":") > 1 and "[" not in text:
        return f"[{text}]:{DEFAULT_PORT}"  # of IPv6, where colons belong to the host
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ClientError(f"{text!r} is no address of a server: {expected}")
    return f"{host}:{port}"


class Stubs:
    """The calls of both services on one blocking or asyncio channel, each with the metadata."""

    def __init__(
        self,
        channel: grpc.Channel | grpc.aio.Channel,
        metadata: Metadata = (),
    ) -> None:
        self._metadata = metadata
        inference, explain = InferenceStub(channel), ExplainStub(channel)
        self._calls = {**vars(inference), **vars(explain)}  # no name is in both

    def start(self, call: Call, metadata: Metadata) -> Any:
        """Send a call: the answer itself, or on an asyncio channel its awaitable.

        Of many messages, the stream.
        """
        start = self._calls[call.method]
        told = (*self._metadata, *metadata)
        return start(call.request, timeout=call.timeout, metadata=told or None)
