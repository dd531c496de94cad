"""The parent of a supervised server: starts it anew when it dies, and hands signals on.

It is a script, run in an interpreter of its own that imports nothing but what is below, so
that whatever befalls the server befalls the server alone. No call passes through it: the
server listens itself. What the server owes its parent is in supervised.py.

A server that dies is started anew at once; one that dies again before it has been ready for
a while, after delays that double. One that was never ready and ends of itself, as with
settings that are wrong, would do so again: its exit code becomes that of the supervisor.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

# Of the server: the process of its parent, the restarts, the descriptor of a file for it, and the
# exit code of the server before it.
VARIABLE = "EYESPOT_SUPERVISOR"
READY_SIGNAL = signal.SIGUSR1  # from the server, once its models are loaded

# Ready for so long, a server has started well, and what it dies of later is another matter.
_SETTLED_SECONDS = 60.0
_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 1.0, 30.0
_MOST_STARTS = 5  # of a server that is killed each time before it was ever ready
_ENDING = (signal.SIGTERM, signal.SIGINT)
_HANDED_ON = (*_ENDING, signal.SIGHUP)
_WATCHED = (*_HANDED_ON, signal.SIGCHLD, READY_SIGNAL)

Tell = Callable[..., None]


class Restarts:
    """Whether a server that has died is started anew, and after how long."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._clock = clock
        self._was_ever_ready = False
        self._ready_at: float | None = None
        self._deaths = 0  # since it was last ready for a while

    def note_ready(self) -> None:
        """The server that runs now has loaded its models."""
        self._was_ever_ready = True
        self._ready_at = self._clock()

    def delay_after(self, exit_code: int) -> float | None:
        """Seconds to wait before the next start; None where it would be in vain.

        Args:
            exit_code: of the server that has died; negative for the signal that killed it.
        """
        if self._ready_at is not None and self._clock() - self._ready_at >= _SETTLED_SECONDS:
            self._deaths = 0
        self._ready_at = None
        self._deaths += 1
        if not self._was_ever_ready and (exit_code >= 0 or self._deaths >= _MOST_STARTS):
            return None
        self.count += 1
        if self._deaths == 1:
            return 0.0
        doubled: float = _FIRST_DELAY_SECONDS * 2.0 ** min(self._deaths - 2, 10)
        return min(doubled, _LONGEST_DELAY_SECONDS)


def supervise(command: Sequence[str], *, tell: Tell, restarts: Restarts, notes: str = "-") -> int:
    """Keeps a server running until a signal asks for its end, and returns the exit code.

    Args:
        command: that starts the server.
        tell: writes a line.
        restarts: when it is started anew.
        notes: the descriptor of a file in which a server tells the next what it needs, or "-".
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    exit_code = 0
    while True:
        process = _start(command, f"{os.getpid()} {restarts.count} {notes} {exit_code}")
        exit_code, is_wanted = _watch(process, restarts)
        if is_wanted:  # killed by SIGTERM, it had not begun to listen to it
            return 0 if exit_code == -signal.SIGTERM else _own_exit_code(exit_code)
        delay = restarts.delay_after(exit_code)
        why = f"the server (process {process}) {_end(exit_code)}"
        if delay is None:
            tell("ERROR", f"{why} and was never ready: it is not started again")
            return _own_exit_code(exit_code)
        when = f"in {delay:g} s" if delay else "at once"
        tell("ERROR", f"{why}: it is started again {when}", restarts=restarts.count)
        if not _wait(delay):
            tell("INFO", "stopped: the server is not started again")
            return 0


def _start(command: Sequence[str], told: str) -> int:
    return os.posix_spawn(
        command[0],
        list(command),
        {**os.environ, VARIABLE: told},
        setpgroup=0,  # Ctrl-C at a terminal comes once, from here
        setsigmask=(),
    )


def _watch(process: int, restarts: Restarts) -> tuple[int, bool]:
    """Waits for the end of a server: its exit code, and whether a signal asked for it."""
    is_wanted = is_ready = is_held = False
    while True:
        came = signal.sigwaitinfo(_WATCHED)
        number = came.si_signo
        if number == signal.SIGCHLD:
            exit_code = _exit_code_of(process)
            if exit_code is not None:
                return exit_code, is_wanted
        elif number == READY_SIGNAL:
            if came.si_pid == process:
                is_ready = True
                restarts.note_ready()
                if is_held:
                    os.kill(process, signal.SIGHUP)
        elif number == signal.SIGHUP and not is_ready:
            is_held = True  # a server that starts may not listen to it yet, and would die
        else:
            is_wanted = is_wanted or number in _ENDING
            os.kill(process, number)


def _exit_code_of(process: int) -> int | None:
    """The exit code if the server has ended; other children come to who is process 1."""
    found = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not ended:
            return found
        if ended == process:
            found = os.waitstatus_to_exitcode(status)


def _wait(seconds: float) -> bool:
    """Lets the time pass, or until SIGHUP wants the server now; False where none is wanted."""
    end = time.monotonic() + seconds
    while True:
        came = signal.sigtimedwait(_HANDED_ON, max(end - time.monotonic(), 0.0))
        if came is None or came.si_signo == signal.SIGHUP:
            return True
        if came.si_signo in _ENDING:
            return False


def _end(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # one of the real-time signals has no name
        name = f"signal {-exit_code}"
    # What usually sends it is no certainty, but the first thing to look for.
    return f"was killed by {name}" + (
        " (perhaps for want of memory)" if -exit_code == signal.SIGKILL else ""
    )


def _own_exit_code(exit_code: int) -> int:
    """That of the server, as a shell would tell it."""
    return exit_code if exit_code >= 0 else 128 - exit_code


def _teller(form: str) -> Tell:
    """Writes lines to standard error that look like the server's own."""

    def tell(level: str, message: str, **extras: object) -> None:
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{now % 1:.3f}"[2:] + "Z"
        if form == "json":
            members = {"time": moment, "level": level.lower(), "logger": "eyespot.supervisor"}
            line = json.dumps({**members, "message": message, **extras})
        else:
            line = " ".join([moment, level, message, *(f"{k}={v}" for k, v in extras.items())])
        with contextlib.suppress(OSError):  # a full disk, or a terminal that is gone
            os.write(2, f"{line}\n".encode())

    return tell


def main(words: Sequence[str]) -> int:
    """Supervises what a command line says.

    Args:
        words: "text" or "json"; the descriptor of a socket that holds the port, or "-"; that of
            a file for the notes of the server, or "-"; and the command.
    """
    form, held, notes, *command = words
    if held != "-":
        os.set_inheritable(int(held), False)  # ours alone, and open for as long as we are
    return supervise(command, tell=_teller(form), restarts=Restarts(), notes=notes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
