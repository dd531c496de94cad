"""What a tuning prints: the frontier, each row with its load, and what is gained by the choice."""

from __future__ import annotations

from collections.abc import Sequence

from eyespot.cli.output import counted, number_text, print_table
from eyespot.cli.tune_search import Measurement, Setting, choose, frontier

_HEADS = (
    *("CLIENTS", "ROWS/S", "P50 MS", "P99 MS"),
    *("SESSIONS", "THREADS", "MAX BATCH", "DELAY µs", ""),
)


def print_tuning(
    measured: Sequence[Measurement], chosen: Measurement | None, max_latency_ms: float
) -> None:
    """Print what is worth knowing of all that was measured; the first is the model as it is."""
    now = measured[0].setting
    shown = frontier(measured)
    of_now = as_it_is(measured, chosen, max_latency_ms)
    if of_now not in shown:
        shown.append(of_now)
    print_table(
        _HEADS,
        [
            (
                *(each.clients, each.rows_per_second, each.p50_ms, each.p99_ms),
                *(each.setting.sessions, each.setting.threads, each.setting.max_batch_size),
                each.setting.delay_microseconds,
                _remark(each, now, chosen, max_latency_ms),
            )
            for each in sorted(shown, key=lambda each: each.p99_ms)
        ],
    )
    print("so many clients call at once, each again when it is answered: compare rows of one load")
    if chosen is not None:
        print(_gain(of_now, chosen))


def as_it_is(
    measured: Sequence[Measurement], chosen: Measurement | None, max_latency_ms: float
) -> Measurement:
    """The model as it is, under the load of the choice; the best that there is if not measured."""
    of_now = [each for each in measured if each.setting == measured[0].setting]
    alike = [each for each in of_now if chosen is not None and each.clients == chosen.clients]
    return alike[0] if alike else choose(of_now, max_latency_ms) or of_now[0]


def _remark(
    each: Measurement, now: Setting, chosen: Measurement | None, max_latency_ms: float
) -> str:
    said = [
        *(["chosen"] if each == chosen else []),
        *(["as it is"] if each.setting == now else []),
        *(["too late"] if each.p99_ms > max_latency_ms else []),
    ]
    return ", ".join(said)


def _gain(of_now: Measurement, chosen: Measurement) -> str:
    if chosen.setting == of_now.setting:
        return "nothing that was tried is better than the setting that there is"
    return f"chosen: {_told(chosen)}; as it is: {_told(of_now)}"


def _told(each: Measurement) -> str:
    return (
        f"{number_text(each.rows_per_second)} rows/s, p99 {number_text(each.p99_ms)} ms with "
        f"{counted(each.clients, 'client')}"
    )
