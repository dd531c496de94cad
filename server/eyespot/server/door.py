"""A port of the server: a gRPC server of its own over services that all ports share."""

import ipaddress
import logging
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc

from eyespot.server.callers import ANYONE, Caller, Right
from eyespot.server.config import ServerConfig
from eyespot.server.gate import Gate, GuardedService
from eyespot.server.listening import listen, written
from eyespot.server.rate_limit import RateLimit
from eyespot.server.reflection import add_reflection
from eyespot.server.tokens import TokenFile
from eyespot.server.transport_security import CertificateFiles, server_credentials

# The services by the names under which they are told.
Services = Sequence[tuple[str, grpc.GenericRpcHandler]]

_WITHOUT_ADMIN = frozenset({Right.INFER, Right.EXPLAIN})
_MIB = 1024 * 1024
# Of one call, names and values together; a token has some hundred bytes.
_MOST_METADATA_BYTES = 16 * 1024
# Who asks oftener whether the server is still there is cut off.
_SHORTEST_PING_MS = 60_000
_MOST_EARLY_PINGS = 2
# A connection whose other end is gone without a word is found out.
_KEEPALIVE_MS, _KEEPALIVE_TIMEOUT_MS = 120_000, 20_000
# A call that the event loop has not come to read for so long is answered CANCELLED, which no
# client repeats; gRPC's own half a minute is soon over on a machine that is overfull or was
# suspended. How long a call is worth an answer is told by its deadline.
_LONGEST_UNREAD_SECONDS = 7 * 24 * 3600
_logger = logging.getLogger(__name__)


class Door:
    """Accepts connections at one address.

    Args:
        services: what answers its calls.
        health_servicer: answers whoever asks.
        gate: decides who may make which of the other calls.
        config: bounds of what is taken.
    """

    def __init__(
        self,
        services: Services,
        health_servicer: Any,
        gate: Gate,
        config: ServerConfig,
    ) -> None:
        self._server = grpc.aio.server(options=_options(config))
        self._server.add_generic_rpc_handlers(
            tuple(GuardedService(handler, gate) for _, handler in services)
        )
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, self._server)
        names = dict.fromkeys(name for name, _ in services)
        add_reflection(self._server, (*names, health.SERVICE_NAME))
        self._host = ""
        self.port = 0

    async def open(self, host: str, port: int, credentials: grpc.ServerCredentials | None) -> None:
        """Begins to accept connections.

        Raises:
            StartError: the address cannot be used.
        """
        self._host = host
        self.port = listen(self._server, host, port, credentials)
        await self._server.start()

    @property
    def address(self) -> str:
        """Where connections are accepted, with the port that was taken."""
        return written(self._host, self.port)

    async def close(self, grace: float) -> None:
        """Closes the connections, `grace` seconds from now at the latest."""
        await self._server.stop(grace)


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.max_request_mib * _MIB),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", config.max_concurrent_streams),
        # Beyond the first, gRPC refuses some calls, and beyond the second all.
        ("grpc.max_metadata_size", _MOST_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _MOST_METADATA_BYTES),
        ("grpc.http2.min_ping_interval_without_data_ms", _SHORTEST_PING_MS),
        ("grpc.http2.max_ping_strikes", _MOST_EARLY_PINGS),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.server_max_unrequested_time_in_server", _LONGEST_UNREAD_SECONDS),
        ("grpc.so_reuseport", 0),  # a second server on the port is a mistake to be told
    ]


async def open_doors(
    doors: list[Door],
    services: Services,
    health_servicer: Any,
    config: ServerConfig,
    *,
    tokens: TokenFile | None,
) -> None:
    """Opens the port of all callers, and the admin port where there is to be one.

    Args:
        doors: receives each door that was opened, so that it is closed after an error too.
        services: what all doors lead to.
        health_servicer: answers whoever asks.
        config: which ports, and what is asked of those who come.
        tokens: those that are known; None where callers need none.

    Raises:
        StartError: an address or a certificate cannot be used.
    """
    files = CertificateFiles.from_settings(
        config.tls_certificate, config.tls_key, config.tls_client_ca
    )
    rate = config.max_requests_per_second
    rate_limit = RateLimit(rate) if rate else None
    _warn_of_open_doors(config)
    anyone = ANYONE if config.settings_calls else Caller(rights=_WITHOUT_ADMIN)
    wanted = [(config.host, config.port, not config.admin_port, anyone)]
    if config.admin_port:
        wanted.append((config.admin_host, config.admin_port, True, ANYONE))
    for host, port, takes_admin_calls, caller in wanted:
        gate = Gate(
            tokens=tokens,
            rate_limit=rate_limit,
            takes_admin_calls=takes_admin_calls,
            anyone=caller,
            knows_certificates=config.tls_client_ca is not None,
        )
        door = Door(services, health_servicer, gate, config)
        doors.append(door)
        await door.open(host, port, None if files is None else server_credentials(files))
        _logger.info(
            "listening on %s%s%s",
            door.address,
            "" if files is None else " with TLS",
            " for admin calls too" if len(doors) > 1 else "",
        )


def _warn_of_open_doors(config: ServerConfig) -> None:
    if is_loopback(config.host):
        return
    if config.token_file is None and config.tls_client_ca is None:
        _logger.warning(
            "whoever reaches %s may call: --token-file or --tls-client-ca would ask who it is",
            config.host,
        )
    elif config.tls_certificate is None:
        _logger.warning(
            "tokens go over the network as they are: --tls-certificate and --tls-key hide them"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
