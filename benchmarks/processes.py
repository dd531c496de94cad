"""Server processes under measurement, and the CPU time that they have used."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

_SCHEDULER_CLOCK = 2


@dataclass(frozen=True)
class ServerProcess:
    """A server that accepts calls on 127.0.0.1:port."""

    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """User and system time of the process and of those it started, to the nanosecond (Linux).

        Processes that have ended count no more.
        """
        return sum(map(_cpu_seconds, process_tree(self.pid)))


def process_tree(pid: int) -> list[int]:
    """A process, the processes that it started, and theirs (Linux)."""
    tree = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # a thread that ended meanwhile
            for child in children.read_text().split():
                tree += process_tree(int(child))
    return tree


def _cpu_seconds(pid: int) -> float:
    clock = (~pid << 3) | _SCHEDULER_CLOCK  # what clock_getcpuclockid(3) makes
    return time.clock_gettime(clock)


@contextmanager
def running(module: str, arguments: Sequence[str | Path]) -> Iterator[ServerProcess]:
    """Run `python -m module arguments --port-file F` until the block ends."""
    with TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        command = [
            sys.executable,
            "-m",
            module,
            *map(str, arguments),
            "--port-file",
            str(port_file),
        ]
        process = subprocess.Popen(command)
        try:
            while not port_file.exists():
                if process.poll() is not None:
                    raise RuntimeError(f"{module} ended with {process.returncode} before serving")
                time.sleep(0.05)
            port = int(port_file.read_text().strip().rpartition(":")[2])
            yield ServerProcess(process.pid, port)
        finally:
            process.terminate()
            process.wait()
