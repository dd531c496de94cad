"""Under a supervisor: how a server gets one, ends with it, and tells it that it is ready."""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn, Self

from eyespot.server import supervisor
from eyespot.server.config import ServerConfig
from eyespot.server.errors import StartError
from eyespot.server.notes import Notes, open_notes

_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


class Parent(NamedTuple):
    """The supervisor of this process.

    Attributes:
        process: Its number.
        restarts: How often it has started the server anew.
        notes: The descriptor of the file that outlives the server, if there is one.
        has_seen_kill: Whether a signal ended the server before this one.
    """

    process: int
    restarts: int
    notes: int | None = None
    has_seen_kill: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self | None:
        """The supervisor that the variables tell of; None where they tell of none."""
        told = environ.get(supervisor.VARIABLE)
        if told is None:
            return None
        process, restarts, notes, last_exit_code = told.split()
        return cls(
            int(process),
            int(restarts),
            None if notes == "-" else int(notes),
            has_seen_kill=int(last_exit_code) < 0,
        )

    def end_with_it(self) -> None:
        """Lets the kernel send SIGTERM to this process when the supervisor ends, however it does.

        Raises:
            StartError: it has ended already.
        """
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != self.process:
            raise StartError("the supervisor has ended, and the server ends with it")

    def tell_ready(self) -> None:
        """Says that the models are loaded."""
        if os.getppid() == self.process:
            os.kill(self.process, supervisor.READY_SIGNAL)


def notes_of(parent: Parent | None) -> Notes:
    """What the servers before this one have told it, and where it tells the next."""
    return Notes() if parent is None else Notes(parent.notes, was_killed=parent.has_seen_kill)


def become_supervisor(config: ServerConfig) -> NoReturn:
    """Turns this process into the supervisor of a server with the same command line.

    A port 0 is chosen here, so that it stays what it is over restarts.

    Raises:
        StartError: the address cannot be used.
    """
    script = str(Path(supervisor.__file__).resolve())
    command = [sys.executable, *sys.orig_argv[1:]]
    added = ["--no-supervised"]
    held = "-"
    if config.port == 0:
        from eyespot.server.listening import reserve_port  # imports gRPC, the rest does not

        holder = reserve_port(config.host)
        added += ["--port", str(holder.getsockname()[1])]
        holder.set_inheritable(True)
        held = str(holder.detach())
    noted = "-"
    if (notes := open_notes()) is not None:
        os.set_inheritable(notes, True)
        noted = str(notes)
    end = command.index("--") if "--" in command else len(command)
    command[end:end] = added
    sys.stdout.flush()
    sys.stderr.flush()
    # Without site and the variables of Python: nothing that is installed can disturb it.
    python = [sys.executable, "-I", "-S", script]
    os.execv(python[0], [*python, config.log_format, held, noted, *command])
