"""The parent of a supervised server, with children that are a few lines of Python."""

import json
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from eyespot.server import supervisor
from eyespot.server.supervisor import Restarts

PYTHON = [sys.executable, "-I", "-S"]  # quick to start


class Time:
    def __init__(self):
        self.now = 1e9

    def __call__(self):
        return self.now


def test_a_death_is_followed_by_a_start_and_several_by_growing_delays():
    restarts = Restarts(clock=Time())
    restarts.note_ready()
    delays = [restarts.delay_after(-signal.SIGSEGV) for _ in range(8)]
    assert delays == [0, 1, 2, 4, 8, 16, 30, 30]
    assert restarts.count == 8


def test_who_was_ready_for_a_while_is_started_at_once_again():
    time = Time()
    restarts = Restarts(clock=time)
    for lived, delay in ((0, 0), (59, 1), (59, 2), (60, 0), (0, 1)):
        restarts.note_ready()
        time.now += lived
        assert restarts.delay_after(-signal.SIGKILL) == delay


def test_who_was_never_ready_and_ends_of_itself_is_given_up():
    assert Restarts().delay_after(1) is None
    was_ready = Restarts()
    was_ready.note_ready()
    assert was_ready.delay_after(1) == 0.0  # whatever was wrong may be mended


def test_who_is_killed_before_it_is_ready_is_given_up_in_the_end():
    restarts = Restarts(clock=Time())
    assert [restarts.delay_after(-signal.SIGBUS) for _ in range(5)] == [0, 1, 2, 4, None]


@contextmanager
def supervising(program, *, form="text", stderr=subprocess.PIPE):
    """A supervisor of a program.

    It has `parent`, `told` (the restarts), `notes`, `last` (the exit code before) and `say`.
    """
    begin = f"""
import os, signal
signal.alarm(600)  # whatever becomes of the test
parent, told, notes, last = map(int, os.environ["{supervisor.VARIABLE}"].split())
def say(text): os.write(2, f"{{text}}\\n".encode())
"""
    with tempfile.TemporaryFile() as notes:
        number = notes.fileno()
        words = [form, "-", str(number), *PYTHON, "-c", begin + program]
        command = [*PYTHON, supervisor.__file__, *words]
        with subprocess.Popen(command, stderr=stderr, text=True, pass_fds=[number]) as running:
            try:
                yield running
            finally:
                running.kill()


def ended(running):
    """What was written until the end, and the exit code."""
    lines = running.stderr.read().splitlines()
    return lines, running.wait()


READY = "os.kill(parent, signal.SIGUSR1)"


def test_what_can_never_start_ends_with_the_exit_code_of_the_server():
    with supervising("raise SystemExit(7)") as running:
        [line], exit_code = ended(running)
    assert exit_code == 7
    assert line.endswith(") ended with exit code 7 and was never ready: it is not started again")


def test_deaths_are_told_and_signals_handed_on():
    program = f"""
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
assert os.getpgid(0) == os.getpid() and os.getppid() == parent
say(f"start {{told}} after {{last}}")
os.kill(parent, signal.SIGHUP)  # not handed on before it is ready
say("before")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
{READY}
signal.sigwait([signal.SIGHUP])
say("hang-up")
if told < 2:
    os.kill(0, (signal.SIGSEGV, signal.SIGKILL)[told])
say("ready")
signal.sigwait([signal.SIGTERM])
os._exit(4)
"""
    with supervising(program, form="json") as running:
        told = []
        for line in running.stderr:
            told.append(line.strip())
            if "in 1 s" in line:
                running.send_signal(signal.SIGHUP)  # now, and not in a second
            if line == "ready\n":
                running.send_signal(signal.SIGTERM)
        assert running.wait() == 4
    said = [line for line in told if not line.startswith("{")]
    assert said == [
        *("start 0 after 0", "before", "hang-up"),
        *("start 1 after -11", "before", "hang-up"),
        *("start 2 after -9", "before", "hang-up", "ready"),
    ]
    first, second = (json.loads(line) for line in told if line.startswith("{"))
    assert first["message"].endswith("was killed by SIGSEGV: it is started again at once")
    assert second["message"].endswith(
        "SIGKILL (perhaps for want of memory): it is started again in 1 s"
    )
    assert [first["restarts"], second["restarts"]] == [1, 2]
    assert first["level"] == "error"


def test_an_end_that_is_wanted_while_nothing_runs():
    program = f"{READY}; os.kill(0, signal.SIGABRT)"
    with supervising(program) as running:
        for line in running.stderr:
            if "in 1 s" in line or "in 2 s" in line:
                running.send_signal(signal.SIGHUP)
            if "in 4 s" in line:
                running.send_signal(signal.SIGTERM)
        assert running.wait() == 0
    assert line.endswith("INFO stopped: the server is not started again\n")


def test_an_end_before_the_server_listens_to_signals():
    with supervising("say('start'); signal.pause()") as running:
        running.stderr.readline()
        running.send_signal(signal.SIGTERM)
        assert ended(running) == ([], 0)


def test_a_full_disk_for_its_lines_does_not_end_it():
    program = f"""
{READY}
os.kill(*((0, signal.SIGABRT) if told == 0 else (parent, signal.SIGTERM)))
signal.pause()
"""
    with Path("/dev/full").open("w") as full, supervising(program, stderr=full) as running:
        assert running.wait() == 0


def test_what_a_server_notes_is_there_for_the_next():
    program = f"""
found = os.pread(notes, 9, 0).decode()
os.pwrite(notes, b"from", 0)
if told == 0:
    {READY}
    os.kill(0, signal.SIGKILL)
say(found)
os.kill(parent, signal.SIGTERM)
signal.pause()
"""
    with supervising(program) as running:
        lines, _ = ended(running)
    assert lines[-1] == "from"


def test_the_supervisor_is_small():
    code = f"import sys, runpy; runpy.run_path({supervisor.__file__!r}); print(*sys.modules)"
    loaded = subprocess.run([*PYTHON, "-c", code], capture_output=True, text=True, check=True)
    assert not {"grpc", "numpy", "torch", "onnxruntime", "eyespot"} & set(loaded.stdout.split())
