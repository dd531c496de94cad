"""The process of a server: its log, its limits, what it begins to load, and its exit code."""

import gc
import logging
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from eyespot.server.config import ServerConfig, unknown_variables
from eyespot.server.early_hashes import EarlyHashes
from eyespot.server.errors import StartError
from eyespot.server.loading_threads import LoadingThreads, is_any_busy
from eyespot.server.logs import Log, LogSettings, leave_lines_that_cannot_be_written
from eyespot.server.signals import INTERRUPTED, end_at_once, ending_at_sigterm

_BLAS_THREADS = "OPENBLAS_NUM_THREADS"  # read when NumPy is loaded
_MOST_FILES = 65_536  # open at once, connections among them
_logger = logging.getLogger(__name__)


def run(config: ServerConfig, *, read_settings: Callable[[], ServerConfig] | None = None) -> int:
    """Serves in an event loop of its own, with logging set up, and returns the exit code.

    With `supervised`, this process becomes the supervisor of another that serves.

    Args:
        config: the settings.
        read_settings: gives the settings as they are now, at SIGHUP.
    """
    log = Log(LogSettings.from_level(config.log_level, config.log_format))
    log.open()
    _raise_file_limit()
    if unknown := unknown_variables(os.environ):
        _logger.warning(
            "environment variables that are no settings are ignored: %s", ", ".join(unknown)
        )
    try:
        if config.supervised:
            from eyespot.server.supervised import become_supervisor

            become_supervisor(config)
        with ending_at_sigterm():  # until the event loop listens
            exit_code = _serve(config, log, read_settings)
    except StartError as error:
        _logger.error("%s", error)
        exit_code = 1
    except KeyboardInterrupt:  # before the event loop listens to signals
        exit_code = INTERRUPTED
    finally:
        leave_lines_that_cannot_be_written()
    if is_any_busy():
        end_at_once(exit_code)
    return exit_code


def _serve(config: ServerConfig, log: Log, read_settings: Callable[[], ServerConfig] | None) -> int:
    with _nothing_collected():
        threads = LoadingThreads()
        hashes = EarlyHashes(config, threads)  # first of all: it happens beside the imports
        _import_numpy()
        from eyespot.server.first_loads import begin_first_loads
        from eyespot.server.load_attempts import LoadAttempts
        from eyespot.server.load_calls import LoadCalls
        from eyespot.server.supervised import Parent, notes_of

        notes = notes_of(Parent.from_environment(os.environ))
        first = begin_first_loads(
            config,
            threads,
            calls=LoadCalls(notes),
            attempts=LoadAttempts(notes),
            hash_of=hashes.of,
        )
        # Only now, while the models are being loaded: these take as long.
        import asyncio

        from eyespot.server.app import serve

    return asyncio.run(serve(config, log, read_settings=read_settings, first=first))


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Looks for no garbage among what is imported within the block, neither now nor later.

    Of a hundred thousand objects nearly all stay; to look through them takes a twelfth of a start,
    and a pause of the event loop each time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _import_numpy() -> None:
    """Imports NumPy without a thread for each core: it is given no matrices to multiply here."""
    is_told = _BLAS_THREADS in os.environ
    os.environ.setdefault(_BLAS_THREADS, "1")
    import numpy  # noqa: F401

    if not is_told:  # what is loaded later, such as PyTorch, decides for itself
        del os.environ[_BLAS_THREADS]


def _raise_file_limit() -> None:
    """Lets as many connections be open as the system allows; out of the box it is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
