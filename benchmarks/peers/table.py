"""CPU per call as multiples of the bare server's, and ours against each peer."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.serving.ratios import Bar, Ratio

BAR = Bar(0.5)

# CPU seconds per call by number of clients, one for each round.
Rounds = Mapping[int, Sequence[float]]


@dataclass(frozen=True)
class Line:
    """A server and what it took.

    Attributes:
        server: Its name.
        told: What was configured.
        rounds: What a call took.
    """

    server: str
    told: str
    rounds: Rounds


def over(one: Rounds, other: Rounds, *, clients: int) -> Ratio:
    """What one server takes over another, round by round."""
    pairs = zip(one[clients], other[clients], strict=True)
    return Ratio(_clients(clients), tuple(mine / yours for mine, yours in pairs), BAR)


def table(*, bare: Rounds, ours: Line, peers: Sequence[Line]) -> str:
    """Write a table that can go into the README as it is.

    Ours over a peer is marked where it misses the bar.
    """
    numbers = list(bare)
    clients = [_clients(number) for number in numbers]
    heads = [f"over (b), {each}" for each in clients] + [f"(c) over it, {each}" for each in clients]
    lines = [
        f"| server | configured | {' | '.join(heads)} |",
        "|---|---" + "|---" * len(heads) + "|",
    ]
    for line in (ours, *peers):
        cells = [_told(over(line.rounds, bare, clients=number)) for number in numbers]
        for number in numbers:
            ratio = over(ours.rounds, line.rounds, clients=number)
            missed = "" if ratio.holds else ", missed"
            cells.append("" if line is ours else f"{ratio.median:.2f}{missed}")
        lines.append(f"| {line.server} | {line.told} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdicts(*, ours: Line, peers: Sequence[Line]) -> list[str]:
    """One sentence for each peer and number of clients, against its most frugal configuration."""
    sentences = []
    for peer in dict.fromkeys(line.server for line in peers):
        for number in ours.rounds:
            tried = [line.rounds for line in peers if line.server == peer]
            medians = [statistics.median(rounds[number]) for rounds in tried]
            best = tried[medians.index(min(medians))]
            ratio = over(ours.rounds, best, clients=number)
            sentences.append(
                f"(c) / {peer} at its best, {_clients(number)}: {_told(ratio)}, {BAR}: "
                f"{'met' if ratio.holds else 'missed'}"
            )
    return sentences


def _clients(number: int) -> str:
    return "1 client" if number == 1 else f"{number} clients"


def _told(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ({min(ratio.values):.2f} to {max(ratio.values):.2f})"
