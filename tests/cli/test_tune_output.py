"""What a tuning prints and draws, of measurements that are made up."""

import pytest
from matplotlib.axes import Axes

from eyespot.cli.tune_output import as_it_is, print_tuning
from eyespot.cli.tune_picture import draw_tuning
from eyespot.cli.tune_search import Measurement, Setting

NOW, OTHER = Setting(1, 1, 8, 0), Setting(2, 1, 8, 500)
ALONE = Measurement(NOW, 1, 900.0, 1.0, 2.0)
TOGETHER = Measurement(NOW, 4, 1200.4, 3.0, 6.0)
CHOSEN = Measurement(OTHER, 4, 1784.0, 2.0, 5.0)
LATE = Measurement(OTHER, 8, 1900.0, 20.0, 44.0)
MEASURED = [ALONE, TOGETHER, CHOSEN, LATE]


def test_the_choice_is_compared_with_what_is_there_under_the_same_load(capsys):
    print_tuning(MEASURED, CHOSEN, 10)
    heads, *rows, _, gain = capsys.readouterr().out.splitlines()
    assert heads.split()[:4] == ["CLIENTS", "ROWS/S", "P50", "MS"]
    assert [row.split()[:4] for row in rows] == [
        ["1", "900", "1", "2"],
        ["4", "1,780", "2", "5"],
        ["4", "1,200", "3", "6"],  # not on the frontier, but what the choice is to be held against
        ["8", "1,900", "20", "44"],
    ]
    assert [row.rpartition("  ")[2] for row in rows] == [
        "as it is",
        "chosen",
        "as it is",
        "too late",
    ]
    assert gain == (
        "chosen: 1,780 rows/s, p99 5 ms with 4 clients; "
        "as it is: 1,200 rows/s, p99 6 ms with 4 clients"
    )


def test_what_is_there_may_be_the_best(capsys):
    print_tuning([ALONE], ALONE, 10)
    assert "nothing that was tried is better" in capsys.readouterr().out


@pytest.mark.parametrize(("chosen", "found"), [(CHOSEN, TOGETHER), (LATE, TOGETHER), (None, ALONE)])
def test_what_is_there_is_told_at_its_best_where_the_load_was_another(chosen, found):
    measured = [ALONE, TOGETHER] if found is TOGETHER else [ALONE]
    assert as_it_is([*measured, CHOSEN, LATE], chosen, 10) == found


def test_the_picture_marks_what_is_there_and_tells_the_clients(tmp_path, monkeypatch):
    labels, texts = [], []
    plot, annotate = Axes.plot, Axes.annotate

    def noted_plot(axes, *places, **options):
        labels.append(options.get("label"))
        return plot(axes, *places, **options)

    def noted_annotate(axes, text, place, **options):
        texts.append((text, place))
        return annotate(axes, text, place, **options)

    monkeypatch.setattr(Axes, "plot", noted_plot)
    monkeypatch.setattr(Axes, "annotate", noted_annotate)
    path = tmp_path / "tuning.png"
    draw_tuning(MEASURED, CHOSEN, max_latency_ms=10, title="net", path=path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert f"as it is: {NOW}" in labels
    assert {("4", (6.0, 1200.4)), ("4", (5.0, 1784.0)), ("8", (44.0, 1900.0))} <= set(texts)
