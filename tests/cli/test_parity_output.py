"""A parity report as a table."""

from eyespot.cli.parity_output import print_parity
from eyespot.v1.manifest import ParityCase, ParityReport


def case(source, rows, worst, agreement=1.0, output="logits"):
    return ParityCase(source, rows, output, worst, worst / 10, agreement)


def test_batches_of_the_same_kind_are_one_row_with_the_worst_of_them(capsys):
    cases = (
        case("random", 1, 0.5),
        case("random", 2, 0.25),
        case("60 held out", 8, 1.0, 0.75),
        case("60 held out", 8, 2.0),
        case("60 held out", 4, 0.125),
        case("random", 1, 0.0625, None, output="map"),
    )
    print_parity(ParityReport(0.0, 0.5, cases))
    _, heads, *rows = capsys.readouterr().out.splitlines()
    assert heads.startswith("INPUTS ")
    assert [row.split() for row in rows] == [
        ["random", "1", "logits", "0.5", "0.05", "1"],
        ["random", "2", "logits", "0.25", "0.025", "1"],
        [
            *["60", "held", "out", "(worst", "of", "2", "batches)"],
            "8",
            "logits",
            "2",
            "0.2",
            "0.875",
        ],
        ["60", "held", "out", "4", "logits", "0.125", "0.0125", "1"],
        ["random", "1", "map", "0.0625", "0.00625", "-"],
    ]
