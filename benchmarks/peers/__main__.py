"""`make bench-peers`: CPU per call of LeNet-5 beside MLServer and Triton with its Python backend.

In each round, one after another on the same machine: (b) a bare grpc.aio server that answers the
same bytes unread, (c) `eyespot serve`, and each configuration of each peer, which runs the same
graph. The clients are a process of their own on the same cores. CPU time is that of all processes
of a server. Peers are installed from PyPI, each into its own environment.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory

from benchmarks.peers.configurations import CONFIGURATIONS
from benchmarks.peers.lineup import line_up
from benchmarks.peers.table import Line, table, verdicts
from benchmarks.processes import ServerProcess
from benchmarks.serving.stage import measure, staged

_MODEL = "lenet5"
_ROW_SHAPE = (1, 32, 32)
_CALLS = {1: 400, 32: 2000}  # by number of clients
_FAILED_ROUNDS = 2


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
        lineup = line_up(
            options.only or list(CONFIGURATIONS),
            model_name=_MODEL,
            stage=stage,
            environments=options.environments,
            running=running,
        )
        servers = {"(b)": stage.bare, "(c)": stage.served, **lineup.servers}
        measured = _measure(servers, stage.request, rounds=options.rounds)
        if all(measured["(c)"].values()):
            _print(measured)
        for told in lineup.left_out:
            print(told)


class CallFailedError(Exception):
    """A server did not answer; the text is its name."""


def _measure(
    servers: Mapping[str, ServerProcess], request: Path, *, rounds: int
) -> dict[str, dict[int, list[float]]]:
    """CPU seconds per call of each server, by number of clients, a list of one for each round.

    A first round warms up. A round in which a call fails does not count, and two of them running
    are the end, as a server has ended; so is Ctrl-C.
    """
    measured: dict[str, dict[int, list[float]]] = {
        name: {clients: [] for clients in _CALLS} for name in servers
    }
    failed = 0
    with suppress(KeyboardInterrupt):
        for each in range(rounds + 1):
            print(f"round {each} of {rounds}", flush=True)
            try:
                took = _measure_once(servers, request)
            except CallFailedError as error:
                failed += 1
                print(f"round {each} does not count, a call failed: {error}", flush=True)
                if failed == _FAILED_ROUNDS:
                    break
                continue
            failed = 0
            if each > 0:
                for (name, clients), cpu in took.items():
                    measured[name][clients].append(cpu)
    return measured


def _measure_once(
    servers: Mapping[str, ServerProcess], request: Path
) -> dict[tuple[str, int], float]:
    took = {}
    for clients, calls in _CALLS.items():
        for name, server in servers.items():
            try:
                measured = measure(server, request, clients=clients, calls=calls)
            except (CalledProcessError, OSError) as error:  # OSError: its process is gone
                raise CallFailedError(name) from error
            took[name, clients] = measured.cpu_per_call
    return took


def _print(measured: Mapping[str, dict[int, list[float]]]) -> None:
    ours = Line("(c) `eyespot serve`", "its defaults, without an explainer", measured["(c)"])
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
