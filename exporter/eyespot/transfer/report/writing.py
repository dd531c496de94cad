"""A report on disk: `report.html` for people, and `metrics.json` for programs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from eyespot.transfer.errors import ReportError
from eyespot.transfer.report.contents import Report
from eyespot.transfer.report.page import build_page

REPORT_FILE = "report.html"
METRICS_FILE = "metrics.json"


def write_report(report: Report, folder: Path | str) -> Path:
    """Write the page and the numbers, each whole or not at all; give the path of the page.

    Args:
        report: What to tell.
        folder: Made if it does not exist; both files are replaced.

    Raises:
        ReportError: The folder cannot be written.
    """
    folder = Path(folder)
    numbers = {
        "title": report.title,
        "metrics": asdict(report.metrics),
        "temperature": None if report.temperature is None else asdict(report.temperature),
        "is_temperature_baked": report.is_temperature_baked,
        "history": [asdict(point) for point in report.history],
        "facts": dict(report.facts),
        "skipped": report.skipped,
        "repeated": report.repeated,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False)
        _replace(folder / METRICS_FILE, text + "\n")
        _replace(folder / REPORT_FILE, build_page(report))
    except OSError as error:
        raise ReportError(f"the report cannot be written to {folder}: {error.strerror}") from error
    return folder / REPORT_FILE


def _replace(path: Path, text: str) -> None:
    """Write beside the file, then take its place: a full disk leaves what was there."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
