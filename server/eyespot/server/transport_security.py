"""TLS and mutual TLS: certificates from files, taken up anew when the files change.

The files are looked at whenever a connection begins. A pair that does not fit together, as
while it is being replaced, is not taken up: connections get the former one meanwhile.
"""

import logging
import ssl
from collections.abc import Hashable
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from eyespot.server.errors import StartError

_logger = logging.getLogger(__name__)


class CertificateFiles(NamedTuple):
    """Where the server's certificate chain, its key and the authority of its callers lie.

    With a `client_ca`, a caller without a certificate of that authority gets no connection.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def from_settings(
        cls, certificate: Path | None, key: Path | None, client_ca: Path | None
    ) -> "CertificateFiles | None":
        """The files that were named; None where none was.

        Raises:
            StartError: one is named without another that it needs.
        """
        if certificate is not None and key is not None:
            return cls(certificate, key, client_ca)
        if certificate is None and key is None and client_ca is None:
            return None
        raise StartError(
            "TLS needs both --tls-certificate and --tls-key; --tls-client-ca comes beside them"
        )

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Reads the files as they are now.

        Raises:
            StartError: one cannot be read, or they do not fit together.
        """
        self._check()
        return grpc.ssl_server_certificate_configuration(
            [(_read(self.key), _read(self.certificate))],
            root_certificates=None if self.client_ca is None else _read(self.client_ca),
        )

    def fingerprint(self) -> Hashable:
        """What changes when one of the files does; None while one is missing."""
        paths = [self.certificate, self.key, *([self.client_ca] if self.client_ca else [])]
        try:
            return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in (p.stat() for p in paths))
        except OSError:
            return None

    def _check(self) -> None:
        """Finds what gRPC would take and then refuse every connection for, without a reason."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for path in (self.certificate, self.key):
            _read(path)
        try:
            context.load_cert_chain(self.certificate, self.key, password=_refuse_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                why = "the key is not that of the certificate"
            else:
                why = "expected two PEM files, a certificate chain and its key without a password"
            raise StartError(
                f"--tls-certificate {self.certificate} and --tls-key {self.key} cannot be used: "
                f"{why}"
            ) from error
        if self.client_ca is None:
            return
        text = _read(self.client_ca)
        try:
            context.load_verify_locations(cadata=text.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise StartError(
                f"--tls-client-ca {self.client_ca} cannot be used: expected a PEM file of "
                "certificates"
            ) from error


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """What a secure port of gRPC asks for, each time that a connection begins.

    Raises:
        StartError: the files cannot be read, or do not fit together.
    """
    # The stubs do not know that the fetcher may give None, for what was there before.
    reload: Any = _Reload(files)
    return grpc.dynamic_ssl_server_credentials(
        files.read(), reload, require_client_authentication=files.client_ca is not None
    )


class _Reload:
    """Gives the certificates when their files have changed, and otherwise None.

    gRPC calls it from its own threads, one call at a time.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._seen = files.fingerprint()

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        found = self._files.fingerprint()
        if found == self._seen:
            return None
        self._seen = found
        try:
            certificates = self._files.read()
        except StartError as error:
            _logger.error("certificates stay as they were: %s", error)
            return None
        if self._files.fingerprint() != found:
            self._seen = None  # they were changed while they were read: look again
            return None
        _logger.info("certificates were read anew from %s", self._files.certificate)
        return certificates


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartError(f"{path} cannot be read: {error.strerror}") from error


def _refuse_password() -> str:
    """Keeps OpenSSL from asking at the terminal."""
    return ""
