"""Commands as processes of their own, as a user starts them."""

import os
import subprocess
import sys
from pathlib import Path


def start(*words, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "eyespot.cli", *map(str, words)],
        cwd=cwd,
        # One core for each process: the server's and the client's threads are many already.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_about(path):
    """The processes that were started with this path on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:  # it has ended meanwhile
            continue
        if any(os.fsencode(path) in word for word in words):
            found.append(int(entry.name))
    return found
