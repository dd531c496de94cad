"""`eyespot status --watch`: a table of what each model does now, drawn anew again and again."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from eyespot.cli.activity import Activity, activity_between
from eyespot.cli.connection import plain_reason
from eyespot.cli.draining import is_draining
from eyespot.cli.output import counted
from eyespot.client import (
    Client,
    DeadlineExceededError,
    ModelStatistics,
    ModelStatus,
    UnavailableError,
)

_BARS = "▁▂▃▄▅▆▇█"
_HISTORY = 12  # looks that the little curve shows
_NOTHING = "·"
_STATE_STYLES = {"READY": "green", "LOADING": "yellow", "UNAVAILABLE": "red"}
_WIDE = 110  # columns of a terminal from which on everything is shown


@dataclass(frozen=True)
class Column:
    """One column behind the model's name; an extra one is left out where there is no room."""

    head: str
    is_extra: bool = False


_COLUMNS = (
    Column("REQ/S"),
    Column("", is_extra=True),  # the curve of the requests
    Column("ROWS/S"),
    Column("FAIL/S"),
    Column("EXPL/S", is_extra=True),
    Column("BATCH"),
    Column("MAX", is_extra=True),
    Column("WAIT"),
    Column("QUEUE p95", is_extra=True),
    Column("p50 MS"),
    Column("p95 MS"),
    Column("p99 MS"),
)

_Key = tuple[str, str]


@dataclass
class Look:
    """What one look at the server found."""

    at: float
    models: Sequence[ModelStatus]
    statistics: Mapping[_Key, ModelStatistics]
    is_draining: bool = False


@dataclass
class History:
    """What was seen so far: the last look, and the rates before it."""

    last: Look | None = None
    activities: dict[_Key, Activity] = field(default_factory=dict)
    rates: defaultdict[_Key, deque[float]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=_HISTORY))
    )

    def add(self, look: Look) -> None:
        """Compare a look with the one before it; the first has nothing to be compared with."""
        if self.last is not None:
            seconds = look.at - self.last.at
            self.activities = {
                key: activity_between(self.last.statistics.get(key), after, seconds)
                for key, after in look.statistics.items()
            }
            for key, activity in self.activities.items():
                self.rates[key].append(activity.requests_per_second)
        self.last = look


def watch(
    client: Client,
    *,
    title: str,
    seconds: float,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
    rounds: int | None = None,
) -> None:
    """Draw the table until it is interrupted.

    A server that does not answer for a while, or not yet, is told of below the table.

    Args:
        client: Asks the server.
        title: What the server is called above the table.
        seconds: From one look to the next.
        console: Where it is drawn; standard output unless given.
        clock: Seconds that never run backwards.
        pause: Waits.
        rounds: How many looks; endless unless given.
    """
    console = console or Console()
    history = History()
    narrow = console.width < _WIDE
    with _showing(console) as show:
        for number in itertools.count() if rounds is None else range(rounds):
            if number:
                pause(seconds)
            trouble = ""
            try:
                history.add(_look(client, clock))
            except (UnavailableError, DeadlineExceededError) as error:
                trouble = f"no answer: {plain_reason(error.details)}"
            show(draw(history, title, trouble=trouble, is_narrow=narrow))


def draw(history: History, title: str, *, trouble: str = "", is_narrow: bool = False) -> Table:
    """Make the table of the last look.

    Args:
        history: What was seen.
        title: What the server is called.
        trouble: Why the last look found nothing.
        is_narrow: Whether it has to do with 80 columns, and leaves out what is least missed.
    """
    last = history.last
    models = last.models if last is not None else ()
    wanted = [model for model in models if model.state]  # the others nobody has asked for yet
    table = Table(
        title=f"{title}: {_state(last, wanted)}",
        title_justify="left",
        title_style="bold",
        caption=Text(trouble, "red") if trouble else _caption(len(models) - len(wanted)),
        caption_justify="left",
        box=None,
        header_style="dim",
        pad_edge=False,
    )
    shown = [index for index, column in enumerate(_COLUMNS) if not (is_narrow and column.is_extra)]
    table.add_column("MODEL")
    for index in shown:
        table.add_column(_COLUMNS[index].head, justify="right", no_wrap=True)
    for model in wanted:
        key = (model.name, model.version)
        name = Text(" ").join([Text(model.name, "bold"), Text(model.version, "dim")])
        name.rstrip()
        if model.is_ready:
            cells = _cells(history.activities.get(key), history.rates[key])
            table.add_row(name, *(cells[index] for index in shown))
        else:
            style = _STATE_STYLES.get(model.state, "")
            table.add_row(name.append(f" {model.state.lower()}", style))
    return table


def _state(last: Look | None, wanted: Sequence[ModelStatus]) -> str:
    if last is None:
        return "waiting for the server"
    if last.is_draining:
        return "shutting down, what was admitted is answered"
    ready = sum(model.is_ready for model in wanted)
    return f"{ready} of {counted(len(wanted), 'model version')} ready"


def _caption(asleep: int) -> str:
    told = f"{counted(asleep, 'model is', 'models are')} not loaded; " if asleep else ""
    return f"{told}Ctrl-C ends it"


@contextmanager
def _showing(console: Console) -> Iterator[Callable[[Table], None]]:
    """Give a function that shows a table: in place on a terminal, below the last one elsewhere."""
    if not console.is_terminal:
        yield console.print
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda table: live.update(table, refresh=True)


def sparkline(values: Sequence[float]) -> str:
    """Draw numbers as a curve of blocks, the largest as high as a line of text."""
    top = max(values, default=0.0)
    if not top:
        return _BARS[0] * len(values)
    return "".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in values)


def _cells(activity: Activity | None, rates: Sequence[float]) -> list[Text]:
    if activity is None:
        return [Text(_NOTHING, "dim")] * len(_COLUMNS)
    failures = _number(activity.failures_per_second)
    if activity.failures_per_second:
        failures.stylize("red")
    waiting = _number(activity.waiting)
    if activity.waiting:
        waiting.stylize("yellow")
    return [
        _number(activity.requests_per_second),
        Text(sparkline(list(rates)).rjust(_HISTORY), "cyan"),
        _number(activity.rows_per_second),
        failures,
        _number(activity.explanations_per_second),
        _number(activity.mean_batch),
        _number(activity.largest_batch),
        waiting,
        _number(activity.queue_ms),
        *map(_number, activity.latency_ms),
    ]


def _number(value: float | None) -> Text:
    if not value:
        return Text(_NOTHING, "dim")
    if isinstance(value, int) or value >= 100:
        return Text(f"{value:,.0f}")
    return Text(f"{value:.1f}" if value >= 10 else f"{value:.2f}")


def _look(client: Client, clock: Callable[[], float]) -> Look:
    models = client.repository_index()
    counted = {(each.name, each.version): each for each in client.statistics()}
    draining = is_draining(client, models, is_ready=client.server_ready())
    return Look(clock(), models, counted, is_draining=draining)
