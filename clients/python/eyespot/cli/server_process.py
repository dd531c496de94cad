"""`eyespot serve` as a process of its own, for as long as it is needed."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from eyespot.cli.errors import CommandError
from eyespot.cli.progress import showing_progress

_POLL_SECONDS = 0.05
_STOP_SECONDS = 60.0


class ServerProcess:
    """A server that runs, and where it listens."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, log: Path) -> None:
        self.address = address
        self._process = process
        self._log = log

    def stop(self) -> None:
        """Ask it to end, as an operator would, and expect that it ends well.

        Raises:
            CommandError: It does not end, or tells of a failure.
        """
        self._process.send_signal(signal.SIGTERM)
        try:
            exit_code = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise CommandError(
                f"the server has not ended {_STOP_SECONDS:g} s after SIGTERM; see {self._log}"
            ) from None
        if exit_code != 0:
            raise CommandError(f"the server ended with exit code {exit_code}; see {self._log}")


@contextmanager
def running_server(
    repository: Path, *, log: Path, options: Sequence[str] = ()
) -> Iterator[ServerProcess]:
    """Start a server on a free port, and leave none behind, whatever happens.

    Args:
        repository: What it serves.
        log: Receives what it writes.
        options: Further ones of `eyespot serve`.

    Raises:
        CommandError: It ended before it was ready.
    """
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as output:
        port_file = Path(folder) / "port"
        command = [sys.executable, "-m", "eyespot.cli", "serve", str(repository), *options]
        process = None
        try:
            with _interruptions_held():
                process = subprocess.Popen(
                    [*command, "--port", "0", "--port-file", str(port_file)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            with showing_progress() as tell:
                tell("starting the server")
                port = _wait_for_port(process, port_file, log)
            yield ServerProcess(process, f"127.0.0.1:{port}", log)
        finally:
            if process is not None:
                process.kill()  # nothing, when it has ended
                process.wait()


@contextmanager
def _interruptions_held() -> Iterator[None]:
    """Hold signals back for a moment: a process that is just being made belongs to nobody."""
    came: list[int] = []

    def note(number: int, _: object) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for held, handler in before.items():
            signal.signal(held, handler)
        for number in came:
            signal.raise_signal(number)


def _wait_for_port(process: subprocess.Popen[bytes], port_file: Path, log: Path) -> int:
    while not port_file.exists():
        if process.poll() is not None:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise CommandError(
                f"the server ended with exit code {process.returncode} before it was ready: "
                f"{lines[-1] if lines else 'it said nothing'}; see {log}"
            )
        time.sleep(_POLL_SECONDS)
    return int(port_file.read_text(encoding="utf-8"))
