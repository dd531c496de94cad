"""HTTP/2 by hand, for what no client of gRPC sends."""

import socket
from collections.abc import Iterator

HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, DATA = 1, 3, 4, 6, 7, 0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_END_STREAM, _END_HEADERS = 1, 4
_LARGEST_FRAME = 16384


def connect(port: int) -> socket.socket:
    """A connection that has said hello."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(_PREFACE + frame(SETTINGS, b""))
    return connection


def frame(kind: int, payload: bytes, *, flags: int = 0, stream: int = 0) -> bytes:
    """One frame."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def frames(connection: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """What arrives, as kind, flags and payload, until the end."""
    stream = connection.makefile("rb")
    while len(head := stream.read(9)) == 9:
        yield head[3], head[4], stream.read(int.from_bytes(head[:3]))


def packed_call(port: int, path: str, packed: bytes) -> bytes:
    """Sends a message that is gzip already, and returns the headers that end the call."""
    with connect(port) as connection:
        begin_call(connection, path, packed, encoding="gzip")
        for kind, flags, payload in frames(connection):
            if kind == HEADERS and flags & _END_STREAM:
                return payload
    raise AssertionError("the call was not answered")


def begin_call(
    connection: socket.socket, path: str, message: bytes, *, stream: int = 1, encoding: str = ""
) -> None:
    """Sends a call, and waits for nothing."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    if encoding:
        fields["grpc-encoding"] = encoding
    headers = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
    framed = bytes([bool(encoding)]) + len(message).to_bytes(4) + message
    connection.sendall(frame(HEADERS, headers, flags=_END_HEADERS, stream=stream))
    for start in range(0, len(framed), _LARGEST_FRAME):
        part = framed[start : start + _LARGEST_FRAME]
        end = _END_STREAM if start + _LARGEST_FRAME >= len(framed) else 0
        connection.sendall(frame(DATA, part, flags=end, stream=stream))


def _text(text: str) -> bytes:
    assert len(text) < 127  # more would take a longer prefix
    return bytes([len(text)]) + text.encode()
