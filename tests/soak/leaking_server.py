"""`python -m tests.soak.leaking_server KIND REPOSITORY ...`: the server, with a leak let into it.

Each request that is inferred takes something for good: memory, a file descriptor or a thread.
A soak that does not see it is no soak.
"""

import functools
import itertools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from eyespot.server.__main__ import main
from eyespot.server.model import Model

_BYTES_PER_REQUEST = 64 * 1024
# Of descriptors and threads a process may have few.
_REQUESTS_PER_LEAK = 50
_MOST_LEAKS = 300
_kept: list[Any] = []


def _leak_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


LEAKS: dict[str, Callable[[], Any]] = {
    "memory": lambda: _kept.append(bytearray(b"\1") * _BYTES_PER_REQUEST),
    "descriptors": lambda: os.open(os.devnull, os.O_RDONLY),
    "threads": _leak_thread,
}


def _let_in(kind: str) -> None:
    infer, leak, counter = Model.infer, LEAKS[kind], itertools.count(1)
    every, most = (1, None) if kind == "memory" else (_REQUESTS_PER_LEAK, _MOST_LEAKS)

    @functools.wraps(infer)
    async def infer_and_leak(self: Model, call: Any) -> Any:
        number = next(counter)
        if number % every == 0 and (most is None or number <= most * every):
            leak()
        return await infer(self, call)

    Model.infer = infer_and_leak  # type: ignore[method-assign]


if __name__ == "__main__":
    _let_in(sys.argv.pop(1))
    sys.exit(main())
