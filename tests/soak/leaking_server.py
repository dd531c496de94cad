"""`python -m tests.soak.leaking_server KIND REPOSITORY ...`: the server, with a leak let into it.

Each request that is inferred takes something for good: memory, a file descriptor or a thread.
A soak that does not see it is no soak.
"""

import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from eyespot.server.__main__ import main
from eyespot.server.model import Model

_BYTES_PER_REQUEST = 64 * 1024
# Of descriptors and threads a process may have few.
_SECONDS_PER_LEAK = 0.5
_kept: list[Any] = []


def _leak_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


LEAKS: dict[str, Callable[[], Any]] = {
    "memory": lambda: _kept.append(bytearray(b"\1") * _BYTES_PER_REQUEST),
    "descriptors": lambda: os.open(os.devnull, os.O_RDONLY),
    "threads": _leak_thread,
}


def _let_in(kind: str) -> None:
    infer, leak, last = Model.infer, LEAKS[kind], 0.0
    pause = 0.0 if kind == "memory" else _SECONDS_PER_LEAK

    @functools.wraps(infer)
    async def infer_and_leak(self: Model, call: Any) -> Any:
        nonlocal last
        if time.monotonic() - last >= pause:
            last = time.monotonic()
            leak()
        return await infer(self, call)

    Model.infer = infer_and_leak  # type: ignore[method-assign]


if __name__ == "__main__":
    _let_in(sys.argv.pop(1))
    sys.exit(main())
