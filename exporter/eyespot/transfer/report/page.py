"""The page: HTML that needs no other file, from the contents of a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from eyespot.transfer.metrics import (
    ClassificationMetrics,
    ClassScores,
    Metrics,
    MultiLabelMetrics,
    ProbabilityMetrics,
)
from eyespot.transfer.report.contents import Report, ShownPicture
from eyespot.transfer.report.figures import draw_confusion, draw_curves, draw_reliability
from eyespot.transfer.report.inlining import inline_figure, inline_picture, overlay

_MOST_FILES = 100
_MOST_CONFUSIONS = 8
_AREA = "area under the ROC curve"

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin-bottom: .3rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; border-bottom: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { max-width: 46rem; }
.faint, figcaption, footer { color: #666; font-size: .88rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.tile { background: #f3f6f9; border-radius: .5rem; padding: .6rem 1rem; min-width: 7rem; }
.tile b { display: block; font-size: 1.45rem; font-weight: 600; }
table { border-collapse: collapse; }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, table.facts td { text-align: left; }
th { border-bottom: 1px solid #bbb; font-weight: 600; }
tr + tr td { border-top: 1px solid #eee; }
td.bar { background: linear-gradient(#cfe0f1, #cfe0f1) no-repeat left; }
img.figure { max-width: 100%; height: auto; }
.grid { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; }
figure img { width: 112px; height: 112px; object-fit: contain; background: #f3f3f3;
  image-rendering: pixelated; }
figure img.smooth { image-rendering: auto; }
figcaption { width: 226px; overflow-wrap: anywhere; line-height: 1.3; margin-top: .2rem; }
figure.single figcaption { width: 112px; }
.wrong { color: #b03024; } .right { color: #23743f; }
.warning { background: #fdf3e1; border-left: 4px solid #e0a030; padding: .5rem .9rem; }
details { margin: .5rem 0; } summary { cursor: pointer; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: .85rem; }
"""


def build_page(report: Report) -> str:
    """Write the page."""
    sections = [
        _head(report),
        _warning(report),
        _training(report),
        _classes(report.metrics),
        _confusion(report.metrics),
        _calibration(report),
        _mistakes(report),
        _examples(report),
        _data(report),
        _recipe(report),
    ]
    title = escape(report.title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(filter(None, sections))
        + "\n<footer><p>Written by Eyespot. The page needs no other file.</p></footer>\n"
        "</body>\n</html>\n"
    )


def _head(report: Report) -> str:
    tiles = "".join(
        f'<div class="tile"><b>{value}</b>{escape(name)}</div>'
        for name, value in _headline(report.metrics)
    )
    facts = _table(None, report.facts.items(), kind="facts") if report.facts else ""
    return f'<h1>{escape(report.title)}</h1>\n<div class="tiles">{tiles}</div>\n{facts}'


def _headline(metrics: Metrics) -> list[tuple[str, str]]:
    """Name the few numbers that are read first."""
    shown: list[tuple[str, float | None]] = [("of answers right", metrics.accuracy)]
    if isinstance(metrics, ClassificationMetrics):
        shown = [
            ("right", metrics.accuracy),
            ("among the top 5", metrics.top5_accuracy),
            (_AREA, metrics.auc),
        ]
    elif isinstance(metrics, MultiLabelMetrics):
        shown += [
            ("of pictures wholly right", metrics.exact_accuracy),
            ("mean average precision", metrics.mean_average_precision),
        ]
    elif isinstance(metrics, ProbabilityMetrics):
        shown = [("right", metrics.accuracy), (_AREA, metrics.auc)]
    shown += [("mean F1", metrics.macro_f1), ("calibration error", metrics.calibration.error)]
    told = [(name, _percent(value)) for name, value in shown if value is not None]
    return [*told, ("pictures measured", f"{metrics.count:,}")]


def _warning(report: Report) -> str:
    if not report.repeated:
        return ""
    number = _counted(len(report.repeated), "held-out picture is", "held-out pictures are")
    return (
        f'<p class="warning">{number} among those trained on as well: the figures flatter. '
        "They are listed below.</p>"
    )


def _training(report: Report) -> str:
    if not report.history:
        return ""
    picture = _figure(inline_figure(draw_curves(report.history)), "training curves")
    return f"<h2>Training</h2>\n{picture}"


def _classes(metrics: Metrics) -> str:
    has_areas = any(each.average_precision is not None for each in metrics.classes)
    heads = ["class", "pictures", "precision", "recall", "F1"]
    heads += ["average precision"] if has_areas else []
    ordered = sorted(metrics.classes, key=lambda each: (not each.support, each.f1))
    rows = [_class_row(each, has_areas=has_areas) for each in ordered]
    note = '<p class="faint">The worst come first.</p>'
    return f"<h2>Classes</h2>\n{note}\n{_table(heads, rows)}"


def _class_row(scores: ClassScores, *, has_areas: bool) -> list[str]:
    if not scores.support:
        return [scores.label, "0", *["–"] * (4 if has_areas else 3)]
    shares: list[float | None] = [scores.precision, scores.recall, scores.f1]
    shares += [scores.average_precision] if has_areas else []
    return [scores.label, f"{scores.support:,}", *map(_percent, shares)]


def _confusion(metrics: Metrics) -> str:
    if isinstance(metrics, MultiLabelMetrics):
        return ""
    names = [each.label for each in metrics.classes]
    picture = _figure(inline_figure(draw_confusion(metrics.confusion, names)), "confusion matrix")
    worst = sorted(
        (
            (count, names[row], names[column])
            for row, counts in enumerate(metrics.confusion)
            for column, count in enumerate(counts)
            if count and row != column
        ),
        key=lambda each: -each[0],
    )[:_MOST_CONFUSIONS]
    lines = "".join(
        f"<li>{escape(actual)} taken for {escape(said)}: {_counted(count, 'time')}</li>"
        for count, actual, said in worst
    )
    listed = f"<h3>Most often</h3>\n<ul>{lines}</ul>" if lines else "<p>Nothing was confused.</p>"
    return f'<h2>What is taken for what</h2>\n<div class="grid">{picture}<div>{listed}</div></div>'


def _calibration(report: Report) -> str:
    calibration = report.metrics.calibration
    picture = _figure(inline_figure(draw_reliability(calibration)), "reliability diagram")
    text = (
        "Is the network right as often as it says? On the diagonal it is. Weighed by the number of "
        f"answers, confidence and share right are {_percent(calibration.error)} apart (expected "
        "calibration error)."
    )
    if report.temperature is not None:
        fitted = report.temperature
        where = (
            "it is in the exported graph"
            if report.is_temperature_baked
            else "it is not in the exported graph"
        )
        text += (
            f" The temperature that makes the validation pictures likeliest is {fitted.value:.3g} "
            f"({where}): with it the error goes from {_percent(fitted.error_before)} to "
            f"{_percent(fitted.error_after)}, the loss from {fitted.loss_before:.3g} to "
            f"{fitted.loss_after:.3g}. No answer changes."
        )
    return f"<h2>Does it know when it is right?</h2>\n<p>{text}</p>\n{picture}"


def _mistakes(report: Report) -> str:
    if not report.mistakes:
        return ""
    return (
        f"<h2>The surest mistakes</h2>\n{_looked_note(report)}\n"
        f'<div class="grid">{"".join(map(_shown, report.mistakes))}</div>'
    )


def _examples(report: Report) -> str:
    if not report.examples:
        return ""
    classes = "".join(
        f'<h3>{escape(name)}</h3>\n<div class="grid">{"".join(map(_shown, some))}</div>\n'
        for name, some in report.examples.items()
    )
    return (
        "<h2>Examples of each class</h2>\n<p>From the picture that is most clearly of its class, "
        f"as the network sees it, to the one that is least so.</p>\n{classes}"
    )


def _looked_note(report: Report) -> str:
    if not report.method:
        return ""
    return (
        "<p>Beside each picture, what the network looked at when it said so: the darker, the more "
        f'it counted <span class="faint">({escape(report.method)})</span>.</p>'
    )


def _shown(shown: ShownPicture) -> str:
    smooth = "" if max(shown.pixels.shape[:2]) <= 64 else ' class="smooth"'
    alt = escape(shown.name or shown.actual)
    images = f'<img{smooth} alt="{alt}" src="{inline_picture(shown.pixels)}">'
    kind = ' class="single"'
    if shown.attributions is not None:
        looked = inline_picture(overlay(shown.pixels, shown.attributions))
        images += f' <img{smooth} alt="what counted" src="{looked}">'
        kind = ""
    said = f"{escape(shown.said)} {_percent(shown.confidence)}"
    if shown.is_right:
        told = f'<span class="right">{said}</span>'
    else:
        told = f'<span class="wrong">{said}</span>, is {escape(shown.actual)}'
    name = f"<br>{escape(shown.name)}" if shown.name else ""
    return f"<figure{kind}>{images}<figcaption>{told}{name}</figcaption></figure>\n"


def _data(report: Report) -> str:
    if not report.skipped and not report.repeated:
        return ""
    lists = _files("held out, but trained on as well", report.repeated) + _files(
        "skipped, as they are no usable pictures", report.skipped
    )
    return f"<h2>Data</h2>\n{lists}"


def _files(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = "".join(f"<li>{escape(name)}</li>" for name in names[:_MOST_FILES])
    rest = len(names) - _MOST_FILES
    shown += f"<li>and {rest:,} more</li>" if rest > 0 else ""
    summary = f"{_counted(len(names), 'file')} {what}"
    return f"<details open><summary>{summary}</summary><ul>{shown}</ul></details>\n"


def _recipe(report: Report) -> str:
    return f"<h2>Recipe</h2>\n<pre>{escape(report.recipe)}</pre>" if report.recipe else ""


def _figure(source: str, alt: str) -> str:
    return f'<img class="figure" alt="{alt}" src="{source}">'


def _table(
    heads: Sequence[str] | None, rows: Iterable[Sequence[str]], *, kind: str = "numbers"
) -> str:
    top = "" if heads is None else _row("th", heads)
    return f'<table class="{kind}">{top}{"".join(_row("td", row) for row in rows)}</table>'


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>\n"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _counted(number: int, thing: str, things: str = "") -> str:
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"
