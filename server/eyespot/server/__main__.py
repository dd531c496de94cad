"""`python -m eyespot.server REPOSITORY`: the server without the command line of `eyespot`."""

import argparse
import os
import sys

from eyespot.server.config import ServerConfig, add_arguments
from eyespot.server.errors import ConfigError
from eyespot.server.process import run


def main() -> int:
    """Reads the settings and serves; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eyespot.server", description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()

    def read_settings() -> ServerConfig:
        return ServerConfig.from_sources(arguments, os.environ)

    try:
        config = read_settings()
    except ConfigError as error:
        parser.error(str(error))
    return run(config, read_settings=read_settings)


if __name__ == "__main__":
    sys.exit(main())
