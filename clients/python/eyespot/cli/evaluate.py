"""`eyespot evaluate`: an exported model on pictures whose classes are known."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.cli.argument_types import seed
from eyespot.cli.connection import add_server_arguments, connected
from eyespot.cli.entry_place import is_path, split_entry
from eyespot.cli.errors import OK, UsageError, telling
from eyespot.cli.evaluation_output import print_comparison, print_evaluation
from eyespot.cli.output import add_json_argument, print_json
from eyespot.cli.progress import Counter, showing_progress
from eyespot.cli.read_pictures import counting_pictures, tell_some
from eyespot.client import Client

if TYPE_CHECKING:
    from eyespot.transfer.evaluation import EvaluatedModel, Evaluation
    from eyespot.transfer.evaluation_pictures import EvaluationPictures


Tell = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "model",
        metavar="REPOSITORY/MODEL[/VERSION]",
        help="folder of a model or of one version (default the latest); with --server the name "
        "of a model is enough",
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        type=Path,
        help="folder with a folder of pictures for each class, a CSV of paths and labels, or a "
        ".npz; where it has a part that is held out (such as val/), that part is used",
    )
    parser.add_argument(
        "--compare", metavar="OTHER", help="another model, by McNemar's test on the same pictures"
    )
    parser.add_argument(
        "--multi-label", action="store_true", help="a picture may have any number of classes"
    )
    parser.add_argument(
        "--held-out",
        type=float,
        metavar="SHARE",
        help="evaluate on so much of each class only, where DATA has no such part: with the share "
        "and the seed of the training, on what it did not see (default all)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of that choice (default 0)")
    parser.add_argument(
        "--report", type=Path, metavar="FOLDER", help="write report.html and metrics.json there"
    )
    add_server_arguments(parser, is_optional=True)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate, and print what was measured."""
    for model in filter(None, (options.model, options.compare)):
        if options.server is None and not is_path(model):
            raise UsageError(f"{model} is no REPOSITORY/MODEL; a name alone needs --server")
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.exporter import ExportError
        from eyespot.saliency import SaliencyError
        from eyespot.transfer import TransferError
        from eyespot.transfer.evaluation import compare

        with telling(ExportError, TransferError, SaliencyError), _client(options) as client:
            model = _open(options.model, client)
            pictures = _read(model, options, tell)
            evaluation = _evaluate(model, pictures, tell)
            other = test = None
            if options.compare is not None:
                rival = _open(options.compare, client)
                is_alike = (rival.rule, rival.labels) == (model.rule, model.labels)
                others = pictures if is_alike else _read(rival, options, tell)
                other = _evaluate(rival, others, tell)
                test = compare(evaluation, pictures, other, others)
            if options.report is not None:
                tell("writing the report")
                _write_report(options, evaluation, pictures)
    if options.json:
        print_json(
            {
                **_told(evaluation),
                "part": pictures.part,
                "skipped": pictures.skipped,
                "absent": pictures.absent,
                "other": other and _told(other),
                "mcnemar": test,
                "report": options.report,
            }
        )
        return OK
    print_evaluation(evaluation, pictures, data=options.data)
    if other is not None and test is not None:
        print_comparison(evaluation, other, test)
    if options.report is not None:
        print(f"\nwritten to {options.report}")
    return OK


@contextmanager
def _client(options: argparse.Namespace) -> Iterator[Client | None]:
    if options.server is None:
        yield None
        return
    with connected(options) as client:
        yield client


def _read(model: EvaluatedModel, options: argparse.Namespace, tell: Tell) -> EvaluationPictures:
    """Read the pictures as a model takes them, and tell which cannot be read."""
    from eyespot.transfer.evaluation_pictures import load_evaluation_pictures

    tell(f"reading the pictures in {options.data}")
    pictures = load_evaluation_pictures(
        options.data,
        model.rule,
        labels=model.labels,
        multi_label=options.multi_label,
        held_out=options.held_out,
        seed=options.seed,
        progress=counting_pictures(tell),
    )
    tell_some("skipped", pictures.skipped)
    return pictures


def _evaluate(model: EvaluatedModel, pictures: EvaluationPictures, tell: Tell) -> Evaluation:
    from eyespot.transfer.evaluation import evaluate

    tell(f"asking {model.model_name} about {len(pictures):,} pictures")
    runs = 1 if model.original is None else 2
    answered = Counter(tell, runs * len(pictures), "answers")
    return evaluate(model, pictures, progress=answered.add)


def _open(text: str, client: Client | None) -> EvaluatedModel:
    """Open a model here, or at a server; of that the original is here, if at all."""
    from eyespot.transfer.evaluated_entry import open_entry

    if client is None:
        return open_entry(*split_entry(text))
    from eyespot.cli.evaluated_server import served_model

    if not is_path(text):
        return served_model(client, text)
    repository, name, version = split_entry(text)
    return served_model(client, name, version=version, entry=open_entry(repository, name, version))


def _told(evaluation: Evaluation) -> dict[str, object]:
    """Leave out the logits, of which there are many."""
    return {name: value for name, value in vars(evaluation).items() if name != "logits"}


def _write_report(
    options: argparse.Namespace, evaluation: Evaluation, pictures: EvaluationPictures
) -> None:
    from eyespot.transfer.evaluation_report import evaluation_report
    from eyespot.transfer.report import entry_explainer, write_report

    explainer = None
    if is_path(options.model) and evaluation.agreement is not None:
        explainer = entry_explainer(*split_entry(options.model))
    report = evaluation_report(evaluation, pictures, data=options.data.name, explainer=explainer)
    write_report(report, options.report)
