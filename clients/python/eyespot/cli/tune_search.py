"""Which settings of a model are tried, and which is best: decided by measurements alone.

Sessions and threads are tried first, then the largest batch with the best of them, then how long
to wait for company: three short walks in place of every combination.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from eyespot.cli.output import counted

# Who is not this much faster is as fast: what differs less between two runs is chance.
_AS_FAST = 0.97
_MOST_CLIENTS = 256
# Doublings of the clients that bring nothing: one may be chance.
_MOST_IN_VAIN = 2
_DELAYS = (500, 2000)

MeasureAt = Callable[[int], "Measurement"]


@dataclass(frozen=True, order=True)
class Setting:
    """What `config.pbtxt` may say of how a model is run; the smaller, the simpler."""

    sessions: int
    threads: int
    max_batch_size: int
    delay_microseconds: int

    def __str__(self) -> str:
        return (
            f"{counted(self.sessions, 'session')} of {counted(self.threads, 'thread')}, "
            f"batches up to {self.max_batch_size}, delay {self.delay_microseconds} µs"
        )


@dataclass(frozen=True)
class Measurement:
    """What so many clients saw of a setting, each calling as soon as it is answered."""

    setting: Setting
    clients: int
    rows_per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Space:
    """What is worth trying on a machine."""

    sessions_and_threads: tuple[tuple[int, int], ...]
    batch_sizes: tuple[int, ...]
    delays: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many settings a search tries at most, with the one it begins at."""
        others = len(self.batch_sizes) - 1 + len(self.delays)
        return 1 + len(self.sessions_and_threads) + others


def space_of(cores: int, max_batch_size: int, max_latency_ms: float) -> Space:
    """List what is worth trying.

    Args:
        cores: Of the machine.
        max_batch_size: The largest to try; 0 for a model whose requests never join.
        max_latency_ms: Who waits that long for company is late already.
    """
    pairs = [(1, 1), *((sessions, 1) for sessions in _doublings(cores) if sessions > 1)]
    # One more than the cores can run: it computes while another's results are handed on.
    pairs.append((cores + 1, 1))
    pairs += [
        (sessions, threads)
        for threads in _doublings(cores)
        for sessions in _doublings(cores // threads)
        if threads > 1
    ]
    delays = tuple(delay for delay in _DELAYS if delay < 1000 * max_latency_ms)
    if max_batch_size < 2:
        return Space(tuple(pairs), (max_batch_size,), ())
    return Space(tuple(pairs), tuple(_doublings(max_batch_size)), delays)


def settings_to_try(
    start: Setting,
    space: Space,
    best: Callable[[], Setting],
) -> Iterator[Setting]:
    """Walk through the space; no setting comes twice.

    Args:
        start: Of the model as it is; tried first.
        space: What is worth trying.
        best: The best setting of what was measured so far.
    """
    tried = {start}
    yield start
    walks: tuple[Callable[[Setting], list[Setting]], ...] = (
        lambda now: [
            replace(now, sessions=sessions, threads=threads)
            for sessions, threads in space.sessions_and_threads
        ],
        lambda now: [replace(now, max_batch_size=size) for size in space.batch_sizes],
        lambda now: [
            replace(now, delay_microseconds=delay)
            for delay in (0, *space.delays)
            if now.max_batch_size > 1
        ],
    )
    for walk in walks:
        for setting in walk(best()):
            if setting not in tried:
                tried.add(setting)
                yield setting


def measure_levels(measure_at: MeasureAt, max_latency_ms: float) -> list[Measurement]:
    """Double the clients of one setting until they wait too long, or more of them bring nothing."""
    measured = [measure_at(1)]
    in_vain = 0
    while measured[-1].p99_ms <= max_latency_ms and measured[-1].clients < _MOST_CLIENTS:
        fastest = max(each.rows_per_second for each in measured)
        measured.append(measure_at(2 * measured[-1].clients))
        in_vain = in_vain + 1 if fastest > _AS_FAST * measured[-1].rows_per_second else 0
        if in_vain == _MOST_IN_VAIN:
            break
    return measured


def frontier(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Keep those that no other one beats in both speed and p99, the quickest answers first."""
    kept: list[Measurement] = []
    for each in sorted(measurements, key=lambda m: (m.p99_ms, -m.rows_per_second, m.setting)):
        if not kept or each.rows_per_second > kept[-1].rows_per_second:
            kept.append(each)
    return kept


def choose(measurements: Sequence[Measurement], max_latency_ms: float) -> Measurement | None:
    """Take the fastest whose p99 keeps to the bound; among equals, the one that answers sooner.

    Returns:
        None where none keeps to it.
    """
    within = [each for each in measurements if each.p99_ms <= max_latency_ms]
    if not within:
        return None
    fastest = max(each.rows_per_second for each in within)
    equals = [each for each in within if each.rows_per_second >= _AS_FAST * fastest]
    return min(equals, key=lambda each: (each.p99_ms, -each.rows_per_second, each.setting))


def best_setting(measurements: Sequence[Measurement], max_latency_ms: float) -> Setting:
    """Take the setting to go on from: the choice, or what is nearest to the bound."""
    chosen = choose(measurements, max_latency_ms)
    return (chosen or min(measurements, key=lambda each: each.p99_ms)).setting


def _doublings(most: int) -> list[int]:
    """1, 2, 4, ... and the last one itself."""
    found = [1 << bit for bit in range(most.bit_length()) if 1 << bit <= most]
    return found if not found or found[-1] == most else [*found, most]
