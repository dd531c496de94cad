"""A peer's server, from its command to the first answer, and to its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc

from benchmarks.peers.configurations import Configuration, Place
from benchmarks.peers.environments import PeerMissingError
from benchmarks.processes import ServerProcess, process_tree
from benchmarks.serving.stage import ask
from eyespot.v1 import inference_pb2

_START_SECONDS = 180.0
_END_SECONDS = 20.0


@contextmanager
def started(
    configuration: Configuration,
    *,
    environment: Path,
    folder: Path,
    model_name: str,
    model_file: Path,
) -> Iterator[ServerProcess]:
    """Run a peer with a graph, ready to answer, until the block ends.

    Args:
        configuration: Of the peer.
        environment: That was made for it.
        folder: Made here, for what the peer needs; the log is in it.
        model_name: To serve the graph under.
        model_file: The graph.

    Raises:
        PeerMissingError: If it ends or does not get ready; the text ends with its last line.
    """
    folder.mkdir()
    place = Place(environment, folder, model_name, model_file, *_free_ports(3))
    log = folder / "log"
    with log.open("w") as lines:
        process = subprocess.Popen(
            list(map(str, configuration.prepare(place))),
            cwd=folder, stdout=lines, stderr=subprocess.STDOUT,
        )  # fmt: skip
    server = ServerProcess(process.pid, place.grpc_port)
    try:
        if not _gets_ready(server, process, model_name):
            last = (log.read_text().strip() or "nothing was written").splitlines()[-1]
            raise PeerMissingError(
                f"{configuration.peer} ({configuration.told}) does not get ready: {last}"
            )
        yield server
    finally:
        _end(process)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _gets_ready(server: ServerProcess, process: subprocess.Popen[bytes], model_name: str) -> bool:
    request = inference_pb2.ModelReadyRequest(name=model_name).SerializeToString()
    until = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        with suppress(grpc.RpcError):
            if inference_pb2.ModelReadyResponse.FromString(
                ask(server, request, "ModelReady")
            ).ready:
                return True
        time.sleep(0.2)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask once, and leave none of the tree: pytriton's server is in a session of its own."""
    tree = process_tree(process.pid)
    process.send_signal(signal.SIGINT)
    until = time.monotonic() + _END_SECONDS
    # Who frees shared memory is among the last.
    while any(map(_is_running, tree)) and time.monotonic() < until:
        process.poll()
        time.sleep(0.05)
    for pid in filter(_is_running, tree):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _is_running(pid: int) -> bool:
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False
