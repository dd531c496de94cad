"""`python -m eyespot.server REPOSITORY`: the server without the command line of `eyespot`."""

import argparse
import os
import sys

from eyespot.server.app import run
from eyespot.server.config import ServerConfig, add_arguments
from eyespot.server.errors import ConfigError


def main() -> int:
    """Reads the settings and serves; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eyespot.server", description=__doc__)
    add_arguments(parser)
    try:
        config = ServerConfig.from_sources(parser.parse_args(), os.environ)
    except ConfigError as error:
        parser.error(str(error))
    return run(config)


if __name__ == "__main__":
    sys.exit(main())
