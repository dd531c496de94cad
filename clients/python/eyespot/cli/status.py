"""`eyespot status`: what a server serves, what it cannot serve and why, and what it did."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

from eyespot.cli.argument_types import positive_number
from eyespot.cli.connection import add_server_arguments, connected
from eyespot.cli.draining import is_draining
from eyespot.cli.errors import FAILURE, OK, UsageError
from eyespot.cli.output import add_json_argument, counted, print_json, print_table
from eyespot.client import ModelStatistics, ModelStatus

_STATES = {"READY": "ready", "LOADING": "being loaded", "UNAVAILABLE": "that cannot be served",
           "": "not loaded"}  # fmt: skip
_ENDING = "is shutting down: it answers what it has admitted, and admits nothing more"
_NOT_YET = "it answers; what explains it is being loaded"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_server_arguments(parser)
    add_json_argument(parser)
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=positive_number,
        const=2.0,
        help="show a live table of rates, latencies, batches and queues, drawn anew every so many "
        "seconds (default 2), until Ctrl-C",
    )


def run(options: argparse.Namespace) -> int:
    """Show the models; the exit code is 1 unless the server and all of them are ready."""
    if options.watch is not None:
        return _watch(options)
    with connected(options, is_patient=False) as client:
        server = client.server_metadata()
        is_ready = client.server_ready()
        models = client.repository_index()
        is_ending = is_draining(client, models, is_ready=is_ready)
        counters = {(each.name, each.version): each for each in client.statistics()}
    reports = [_report(model, counters.get((model.name, model.version))) for model in models]
    if options.json:
        states = {"is_ready": is_ready, "is_draining": is_ending}
        print_json({"server": server, **states, "models": reports})
    else:
        state = _ENDING if is_ending else _state_and_counts(models, is_ready=is_ready)
        print(f"{server.name} {server.version} at {options.server} {state}")
        if reports:
            _print_table(reports)
    # A model without a state is one that nobody has asked for yet.
    return (
        OK if is_ready and all(model.is_ready or not model.state for model in models) else FAILURE
    )


def _state_and_counts(models: Sequence[ModelStatus], *, is_ready: bool) -> str:
    """What the server says of itself, and of its models."""
    state = _state(models, is_ready=is_ready)
    if not models or any(model.state != "UNAVAILABLE" for model in models):
        return f"{state}: {_counts(models)}"
    but = "but" if is_ready else "and"
    if len(models) == 1:
        return f"{state}, {but} its 1 model version cannot be served"
    return f"{state}, {but} none of {len(models)} model versions can be served"


def _state(models: Sequence[ModelStatus], *, is_ready: bool) -> str:
    """What the server says of itself; it is ready also where a model cannot be served."""
    if is_ready:
        return "is ready"
    is_loading = any(model.is_awaited(for_explaining=True) for model in models)
    return "is still loading" if is_loading else "is not ready"


def _counts(models: Sequence[ModelStatus]) -> str:
    """How many model versions there are in which state."""
    if not models:
        return "the model repository is empty"
    counts = Counter(_state_of(model) for model in models)
    if counts["ready"] == len(models) == 1:
        return "1 model version, which is ready"
    if counts["ready"] == len(models):
        return f"{len(models)} model versions, all of them ready"
    told = ", ".join(f"{counts[state]} {state}" for state in counts)
    return f"{counted(len(models), 'model version')}, {told}"


def _state_of(model: ModelStatus) -> str:
    if model.explainer_is_loading:
        return "ready to answer but not yet to explain"
    return _STATES.get(model.state, model.state.lower())


def _print_table(reports: Sequence[Mapping[str, object]]) -> None:
    """Print a line for each version; of what no version has a part, there is no column."""
    heads = {
        "name": "MODEL", "version": "VERSION", "state": "STATE", "inference_count": "ROWS",
        "execution_count": "BATCHES", "mean_batch_size": "MEAN BATCH", "fail_count": "FAILED",
        "mean_queue_ms": "QUEUE MS", "mean_compute_infer_ms": "COMPUTE MS",
        "explain_count": "EXPLAINED", "explain_fail_count": "NOT EXPLAINED",
        "mean_explain_ms": "EXPLAIN MS", "derivation": "MADE", "reason": "REASON",
    }  # fmt: skip
    for key in ("explain_count", "explain_fail_count", "mean_explain_ms", "derivation"):
        if not any(report[key] for report in reports):
            del heads[key]
    print_table(
        list(heads.values()),
        [[report[key] for key in heads] for report in reports],
        dispensable=["MEAN BATCH", "BATCHES", "EXPLAIN MS", "NOT EXPLAINED", "QUEUE MS", "MADE"],
    )


def _watch(options: argparse.Namespace) -> int:
    if options.json:
        raise UsageError("--watch draws a table for people; for machines there are the metrics")
    from eyespot.cli.watch import watch

    with connected(options, is_patient=False) as client, suppress(KeyboardInterrupt):
        watch(client, title=options.server, seconds=options.watch)
    return OK


def _report(model: ModelStatus, counted: ModelStatistics | None) -> dict[str, object]:
    return {
        "name": model.name,
        "version": model.version,
        "state": model.state or "NOT LOADED",
        "inference_count": counted and counted.inference_count,
        "execution_count": counted and counted.execution_count,
        "mean_batch_size": counted and counted.mean_batch_size,
        "fail_count": counted and counted.fail.count,
        "mean_queue_ms": counted and counted.queue.mean_ms,
        "mean_compute_infer_ms": counted and counted.compute_infer.mean_ms,
        "explain_count": counted and counted.explain_success.count,
        "explain_fail_count": counted and counted.explain_fail.count,
        "mean_explain_ms": counted and counted.explain_success.mean_ms,
        "derivation": model.derivation,
        "reason": model.reason or (_NOT_YET if model.explainer_is_loading else ""),
    }
