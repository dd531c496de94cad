"""An evaluation as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.cli.output import counted, print_facts, print_table

if TYPE_CHECKING:
    from eyespot.transfer import McNemarTest, Metrics
    from eyespot.transfer.evaluation import Evaluation
    from eyespot.transfer.evaluation_pictures import EvaluationPictures

_MOST_CLASSES = 30
_MOST_NAMED = 5
_SHARE_WIDTH = 9
_USUAL_LEVEL = 0.05


def print_evaluation(evaluation: Evaluation, pictures: EvaluationPictures, *, data: Path) -> None:
    """Print the metrics, the agreement with the original, and each class, the worst first."""
    metrics = evaluation.metrics
    print_facts(
        {
            "model": f"{evaluation.model_name} version {evaluation.model_version}",
            "pictures": f"{metrics.count:,} of {data} ({pictures.part})",
            "skipped": counted(len(pictures.skipped), "file") if pictures.skipped else "",
            "no pictures of": _named(pictures.absent),
            **_numbers(metrics),
            "PyTorch original": _agreement(evaluation),
        }
    )
    print()
    has_areas = any(each.average_precision is not None for each in metrics.classes)
    ordered = sorted((each for each in metrics.classes if each.support), key=lambda each: each.f1)
    shares = ["PRECISION", "RECALL", "F1", *(["AVG PRECISION"] * has_areas)]
    print_table(
        ("CLASS", "PICTURES", *(head.rjust(_SHARE_WIDTH) for head in shares)),
        [
            (
                each.label,
                each.support,
                _percent(each.precision),
                _percent(each.recall),
                _percent(each.f1),
                *([_percent(each.average_precision)] * has_areas),
            )
            for each in ordered[:_MOST_CLASSES]
        ],
    )
    if len(ordered) > _MOST_CLASSES:
        print(f"and {len(ordered) - _MOST_CLASSES} better ones; --json has all of them")


def print_comparison(first: Evaluation, second: Evaluation, test: McNemarTest) -> None:
    """Print McNemar's test, and what it means."""
    names = [f"{each.model_name} version {each.model_version}" for each in (first, second)]
    print(f"\n{names[0]} against {names[1]}")
    print_facts(
        {
            "both right": f"{test.both_right:,}",
            "only the first": f"{test.only_first:,}",
            "only the second": f"{test.only_second:,}",
            "both wrong": f"{test.both_wrong:,}",
            "McNemar's test": f"p = {test.p_value:.3g} (exact): {_meaning(test)}",
        }
    )


def _meaning(test: McNemarTest) -> str:
    if test.p_value >= _USUAL_LEVEL:
        return "the difference may well be chance"
    better = "first" if test.only_first > test.only_second else "second"
    return f"the {better} is better"


def _numbers(metrics: Metrics) -> dict[str, object]:
    """Write the numbers that a kind of metrics has."""
    told = {
        "accuracy": metrics.accuracy,
        "top-5 accuracy": getattr(metrics, "top5_accuracy", None),
        "all labels right": getattr(metrics, "exact_accuracy", None),
        "mean average precision": getattr(metrics, "mean_average_precision", None),
        "area under ROC curve": getattr(metrics, "auc", None),
        "mean F1": metrics.macro_f1,
        "calibration error": metrics.calibration.error,
    }
    return {
        **{name: f"{value:.2%}" for name, value in told.items() if value is not None},
        "loss": f"{metrics.loss:.4g}",
    }


def _agreement(evaluation: Evaluation) -> str:
    found = evaluation.agreement
    if found is None:
        return evaluation.no_agreement
    return (
        f"the same answer in {found.agreeing:,} of {counted(found.rows, 'row')}; logits differ by "
        f"{found.max_abs_diff:.3g} at most"
    )


def _percent(share: float | None) -> str:
    text = "-" if share is None else f"{share:.1%}"
    return text.rjust(_SHARE_WIDTH)


def _named(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
