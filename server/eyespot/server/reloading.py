"""SIGHUP: settings, tokens, certificates and the repository are read anew, and it is told.

What cannot be used leaves what was there before. Most settings are those of sessions and
sockets that exist; of them the log says that a change needs a restart.
"""

import dataclasses
import logging
from collections.abc import Callable

from eyespot.server.config import ServerConfig
from eyespot.server.errors import ConfigError, StartError
from eyespot.server.loader import Loader
from eyespot.server.logs import Log, LogSettings
from eyespot.server.tokens import TokenFile
from eyespot.server.transport_security import CertificateFiles

ReadSettings = Callable[[], ServerConfig]

_TAKEN_AT_ONCE = frozenset({"log_level", "log_format"})
_logger = logging.getLogger(__name__)


class Reloading:
    """Reads anew what may change while a server runs; use it from its event loop.

    Args:
        config: the settings at the start.
        read: gives them as they are now; None where they cannot be read again.
        log: whose settings may change.
        loader: of the models.
        tokens: those that are known; None without.
    """

    def __init__(
        self,
        config: ServerConfig,
        *,
        read: ReadSettings | None,
        log: Log,
        loader: Loader,
        tokens: TokenFile | None,
    ) -> None:
        self._config = config
        self._read = read
        self._log = log
        self._loader = loader
        self._tokens = tokens

    async def run(self) -> None:
        """Reads everything once; never fails, but says in the log what could not be used."""
        self._reload_settings()
        if self._tokens is not None:
            self._tokens.look()
        self._check_certificates()
        await self._reload_repository()
        _logger.info("reloaded")

    def _reload_settings(self) -> None:
        if self._read is None:
            return
        try:
            wanted = self._read()
        except ConfigError as error:
            _logger.error("settings stay as they were: %s", error)
            return
        names = [field.name for field in dataclasses.fields(wanted)]
        changed = {n for n in names if getattr(wanted, n) != getattr(self._config, n)}
        if taken := changed & _TAKEN_AT_ONCE:
            self._log.change(LogSettings.from_level(wanted.log_level, wanted.log_format))
            self._config = dataclasses.replace(
                self._config, log_level=wanted.log_level, log_format=wanted.log_format
            )
            _logger.info("settings that hold from now on: %s", ", ".join(sorted(taken)))
        if others := changed - taken:
            _logger.warning("settings that need a restart: %s", ", ".join(sorted(others)))

    def _check_certificates(self) -> None:
        """Says it now if the next connection will not get them: that is when they are taken."""
        config = self._config
        files = CertificateFiles.from_settings(
            config.tls_certificate, config.tls_key, config.tls_client_ca
        )
        if files is None:
            return
        try:
            files.read()
        except StartError as error:
            _logger.error("certificates stay as they were: %s", error)
        else:
            _logger.info("connections from now on get the certificates in %s", files.certificate)

    async def _reload_repository(self) -> None:
        mode = self._config.model_control_mode
        if mode == "none":
            _logger.info(
                "the repository is not read anew with model_control_mode none; a restart does"
            )
            return
        try:
            names = await self._loader.refresh()
        except StartError as error:
            _logger.error("models stay as they were: %s", error)
        else:
            _logger.info("models that had changed: %s", ", ".join(names) or "none")
