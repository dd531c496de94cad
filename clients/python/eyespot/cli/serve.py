"""`eyespot serve`: the server, in this process, or with --supervised under this one."""

from __future__ import annotations

import argparse
import os

from eyespot.cli.errors import UsageError
from eyespot.server.config import ServerConfig
from eyespot.server.config import add_arguments as add_settings
from eyespot.server.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: one for each field of the server's settings."""
    add_settings(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""

    def read_settings() -> ServerConfig:
        return ServerConfig.from_sources(options, os.environ)

    try:
        settings = read_settings()
    except ConfigError as error:
        raise UsageError(str(error)) from error
    from eyespot.server.process import run as serve

    return serve(settings, read_settings=read_settings)
