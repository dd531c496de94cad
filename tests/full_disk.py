"""A disk that takes no more, as the kernel makes it for one process."""

import resource
from contextlib import contextmanager


@contextmanager
def files_of_at_most(size):
    """Writing beyond so many bytes into a file fails: File too large."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
