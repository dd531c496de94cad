"""The peers that are measured: installed, started, and found to answer as we do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.peers.answers import answers, must_agree
from benchmarks.peers.configurations import CONFIGURATIONS
from benchmarks.peers.environments import Environment, PeerMissingError
from benchmarks.peers.starting import started
from benchmarks.processes import ServerProcess
from benchmarks.serving.stage import Stage, request_of

_DIFFERENT_ROWS = 8


@dataclass
class Lineup:
    """Servers by the name of their configuration, and why others are not among them."""

    servers: dict[str, ServerProcess] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, error: PeerMissingError) -> None:
        """Tell at once, and keep it for the end."""
        self.left_out.append(f"Left out: {error}")
        print(self.left_out[-1], flush=True)


def line_up(
    names: Sequence[str], *, model_name: str, stage: Stage, environments: Path, running: ExitStack
) -> Lineup:
    """Start peers with the stage's graph.

    Args:
        names: Of configurations.
        model_name: To serve the graph under.
        stage: Our server, and what is needed for a peer.
        environments: Folder in which they are installed.
        running: Ends them.

    Raises:
        OtherAnswersError: If a peer's numbers are not ours.
    """
    lineup = Lineup()
    installed = _install(names, environments, lineup)
    shape = (_DIFFERENT_ROWS, *stage.row.shape)
    rows = np.random.default_rng(0).random(shape, np.float32)
    requests = [request_of(model_name, row) for row in rows]
    ours = answers(stage.served, requests)
    for name in names:
        configuration = CONFIGURATIONS[name]
        if configuration.environment not in installed:
            continue
        peer = started(
            configuration,
            environment=installed[configuration.environment],
            folder=stage.request.parent / name,
            model_name=model_name,
            model_file=stage.model_file,
        )
        try:
            server = running.enter_context(peer)
        except PeerMissingError as error:
            lineup.leave_out(error)
            continue
        must_agree(name, theirs=answers(server, requests), ours=ours)
        print(f"{name} answers as we do", flush=True)
        lineup.servers[name] = server
    return lineup


def _install(names: Sequence[str], folder: Path, lineup: Lineup) -> dict[Environment, Path]:
    installed = {}
    for environment in dict.fromkeys(CONFIGURATIONS[name].environment for name in names):
        try:
            installed[environment] = environment.make(folder)
        except PeerMissingError as error:
            lineup.leave_out(error)
    return installed
