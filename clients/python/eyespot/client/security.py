"""How a client proves who it is, and how it knows its server: TLS, certificates and a token."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from eyespot.client.errors import ClientError

File = str | os.PathLike[str]


@dataclass(frozen=True)
class Security:
    """What the connection to a server is secured by; by default nothing.

    Attributes:
        tls: Whether the connection is TLS; a `ca` or a `certificate` make it so, too.
        ca: PEM file of the authority that the server's certificate must be of; None for
            those that gRPC brings along.
        certificate: PEM file of the client's own certificate chain, for mutual TLS.
        key: PEM file of its key.
        token: Sent with each call; the representation keeps it to itself.
    """

    tls: bool = False
    ca: File | None = None
    certificate: File | None = None
    key: File | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ClientError("a client's certificate and its key come together: give both")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise ClientError("a token is printable ASCII text, without a line break at its end")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call."""
        return () if not self.token else (("authorization", f"Bearer {self.token}"),)

    def open_channel(self, module: Any, address: str, *, options: Any) -> Any:
        """Open a channel of `grpc` or of `grpc.aio`.

        Raises:
            ClientError: A file cannot be read.
        """
        if not (self.tls or self.ca or self.certificate):
            return module.insecure_channel(address, options=options)
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_read(self.ca),
            private_key=_read(self.key),
            certificate_chain=_read(self.certificate),
        )
        return module.secure_channel(address, credentials, options=options)


def _read(path: File | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ClientError(f"{os.fspath(path)} cannot be read: {error.strerror}") from error
