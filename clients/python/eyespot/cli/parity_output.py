"""A parity report as a table: batches of the same kind are one row, that of the worst of them."""

from __future__ import annotations

from collections.abc import Sequence

from eyespot.cli.output import counted, print_table
from eyespot.v1.manifest import ParityCase, ParityReport


def print_parity(report: ParityReport) -> None:
    """Print every comparison with the original."""
    print(f"parity with the PyTorch original (tolerance {report.atol:g} + {report.rtol:g} x scale)")
    print_table(
        ("INPUTS", "BATCH", "OUTPUT", "MAX ABS DIFF", "MAX REL DIFF", "TOP-1 AGREEMENT"),
        [_row(cases) for cases in _kinds(report.cases)],
    )
    if report.gradients:
        print("parity of the ONNX gradients with PyTorch's")
        print_table(
            ("GRADIENT", "INPUTS", "MEDIAN REL L2", "PYTORCH'S OWN", "LEAST COSINE"),
            [
                (
                    case.gradient,
                    case.rows,
                    case.median_rel_l2,
                    case.own_rel_l2 or None,
                    case.least_cosine,
                )
                for case in report.gradients
            ],
        )


def _kinds(cases: Sequence[ParityCase]) -> list[list[ParityCase]]:
    """Bring batches together of the same inputs, size and output: pictures come in many."""
    kinds: dict[tuple[str, int, str], list[ParityCase]] = {}
    for case in cases:
        kinds.setdefault((case.source, case.batch_size, case.output), []).append(case)
    return list(kinds.values())


def _row(cases: Sequence[ParityCase]) -> tuple[object, ...]:
    first = cases[0]
    agreements = [case.top1_agreement for case in cases if case.top1_agreement is not None]
    several = f" (worst of {counted(len(cases), 'batch', 'batches')})" if len(cases) > 1 else ""
    return (
        first.source + several,
        first.batch_size,
        first.output,
        max(case.max_abs_diff for case in cases),
        max(case.max_rel_diff for case in cases),
        sum(agreements) / len(agreements) if agreements else None,
    )
