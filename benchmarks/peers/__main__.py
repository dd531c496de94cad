"""`make bench-peers`: CPU per call of LeNet-5 beside MLServer and Triton with its Python backend.

In each round, one after another on the same machine: (b) a bare grpc.aio server that answers the
same bytes unread, (c) `eyespot serve`, and each configuration of each peer, which runs the same
graph. The clients are a process of their own on the same cores. CPU time is that of all processes
of a server. Peers are installed from PyPI, each into its own environment.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.peers.answers import answers, must_agree
from benchmarks.peers.configurations import CONFIGURATIONS
from benchmarks.peers.environments import PeerMissingError
from benchmarks.peers.starting import started
from benchmarks.peers.table import Line, table, verdicts
from benchmarks.processes import ServerProcess
from benchmarks.serving.stage import Stage, measure, request_of, staged

_MODEL = "lenet5"
_ROW_SHAPE = (1, 32, 32)
_CALLS = {1: 400, 32: 2000}  # by number of clients
_DIFFERENT_ROWS = 8


def main() -> None:
    """Measure the configurations that are wanted, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=8, help="of which the median counts (8)")
    parser.add_argument(
        "--only", choices=CONFIGURATIONS, action="append", metavar="CONFIGURATION",
        help=f"leave the others out; may be repeated: {', '.join(CONFIGURATIONS)}",
    )  # fmt: skip
    parser.add_argument(
        "--environments", type=Path, default=Path("build/peers"), help="(build/peers)"
    )
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    with TemporaryDirectory() as folder, ExitStack() as running:
        stage = running.enter_context(staged(_MODEL, _ROW_SHAPE, Path(folder)))
        peers = _start(options.only or CONFIGURATIONS, stage, options.environments, running)
        servers = {"(b)": stage.bare, "(c)": stage.served, **peers}
        _print(_measure(servers, stage.request, rounds=options.rounds))


def _start(
    names: Sequence[str] | Mapping[str, object],
    stage: Stage,
    environments: Path,
    running: ExitStack,
) -> dict[str, ServerProcess]:
    """Start the peers, whose answers must be ours; tell which are left out, and why."""
    rows = np.random.default_rng(0).random((_DIFFERENT_ROWS, 1, *_ROW_SHAPE), np.float32)
    requests = [request_of(_MODEL, row) for row in rows]
    ours = answers(stage.served, requests)
    servers = {}
    for name in names:
        configuration = CONFIGURATIONS[name]
        try:
            server = running.enter_context(
                started(
                    configuration,
                    environment=configuration.environment.make(environments),
                    folder=stage.request.parent / name,
                    model_name=_MODEL,
                    model_file=stage.model_file,
                )
            )
        except PeerMissingError as error:
            print(f"{name} is left out. {error}", flush=True)
            continue
        must_agree(name, theirs=answers(server, requests), ours=ours)
        print(f"{name} answers as we do", flush=True)
        servers[name] = server
    return servers


def _measure(
    servers: Mapping[str, ServerProcess], request: Path, *, rounds: int
) -> dict[str, dict[int, list[float]]]:
    """CPU seconds per call of each server, by number of clients; the first round is thrown away."""
    measured: dict[str, dict[int, list[float]]] = {
        name: {clients: [] for clients in _CALLS} for name in servers
    }
    for each in range(rounds + 1):
        for clients, calls in _CALLS.items():
            for name, server in servers.items():
                cpu = measure(server, request, clients=clients, calls=calls).cpu_per_call
                if each:
                    measured[name][clients].append(cpu)
    return measured


def _print(measured: Mapping[str, dict[int, list[float]]]) -> None:
    ours = Line("(c) `eyespot serve`", "its defaults", measured["(c)"])
    peers = [
        Line(CONFIGURATIONS[name].peer, CONFIGURATIONS[name].told, rounds)
        for name, rounds in measured.items()
        if name in CONFIGURATIONS
    ]
    print(table(bare=measured["(b)"], ours=ours, peers=peers))
    for sentence in verdicts(ours=ours, peers=peers):
        print(sentence)


if __name__ == "__main__":
    main()
