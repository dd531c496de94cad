"""Whether an address can be listened on, and if not, why: gRPC itself tells neither kindly.

gRPC writes its own lines to standard error when it cannot bind and raises an exception
without the reason, so the address is tried with plain sockets first.
"""

import contextlib
import errno
import socket

import grpc

from eyespot.server.errors import StartError

_ADVICE = {
    errno.EADDRINUSE: "the port is in use; end the other server or choose another --port",
    errno.EADDRNOTAVAIL: "the address is not this machine's; 0.0.0.0 means all that are",
    errno.EACCES: "the port is reserved to the system; choose one from 1024 upwards",
}


def listen(
    server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None
) -> int:
    """Lets a server accept connections at an address, and returns the port that was taken.

    Args:
        server: not started yet.
        host: a name or an address, IPv6 without brackets.
        port: 0 for a free one.
        credentials: of TLS; None for plain connections.

    Raises:
        StartError: the address cannot be used.
    """
    check_address(host, port)
    address = written(host, port)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise StartError(f"cannot listen on {address}: {error}") from error


def written(host: str, port: int) -> str:
    """An address as gRPC writes it; IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_address(host: str, port: int) -> None:
    """Binds to the address for a moment, where gRPC will in earnest.

    Raises:
        StartError: nothing that the host's name stands for can be bound.
    """
    where = f"cannot listen on {host} port {port}"
    try:
        found = _addresses(host, port)
    except OSError as error:
        raise StartError(f"{where}: {host!r} is no known address ({error.strerror})") from error
    reasons = [_reason_against(family, address) for family, address in found]
    if all(reasons):  # gRPC is content with one, as with ::1 where there is no IPv6
        raise StartError(f"{where}: {reasons[0]}")


def reserve_port(host: str) -> socket.socket:
    """Takes a free port, and holds it for as long as the socket is open.

    It never listens, so that another socket of this machine's can bind to the port and do so,
    and nobody is given it who asks for a free one.

    Raises:
        StartError: nothing that the host's name stands for can be bound.
    """
    check_address(host, 0)
    for family, address in _addresses(host, 0):
        holder = socket.socket(family, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            holder.bind(address)
            return holder
        holder.close()
    raise StartError(f"cannot listen on {host} port 0: there is no free port")


def _addresses(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    """The addresses that a name stands for, each after its family."""
    # Text would be made bytes by IDNA, whose tables not every start has to load.
    name = host.encode() if host.isascii() else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(family, address) for family, _, _, _, address in found]


def _reason_against(family: int, address: tuple[object, ...]) -> str:
    try:
        with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            # As gRPC does: the connections of a server that has ended do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return _ADVICE.get(error.errno or 0) or error.strerror or str(error)
    return ""
