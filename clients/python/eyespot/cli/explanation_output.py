"""What is left of an explanation: a drawing, the numbers of the map, a line, a part of the JSON."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eyespot.cli.errors import UsageError, telling
from eyespot.cli.output_folder import OutputFolder, add_drawings_argument
from eyespot.cli.progress import tell_line
from eyespot.client import Classification, Explanation, PictureError
from eyespot.client.normalisation import CLIP_PERCENTILE, SIGNS, Normalisation

_LONGEST_PART = 80  # of a file's name, in letters


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Let the user say what is to be left of it, and how it is drawn."""
    add_drawings_argument(parser)
    parser.add_argument(
        "--maps",
        metavar="DIR",
        type=Path,
        help="folder for the maps themselves, as NumPy files of the numbers",
    )
    parser.add_argument(
        "--clip",
        type=float,
        default=CLIP_PERCENTILE,
        metavar="PERCENT",
        help=f"percentile at which the colours end (default {CLIP_PERCENTILE:g}; 100: the largest)",
    )
    parser.add_argument(
        "--sign",
        choices=SIGNS,
        help="colours for both signs, or for magnitudes (default: signed where the numbers are)",
    )
    parser.add_argument(
        "--smooth",
        type=float,
        default=0.0,
        metavar="PIXELS",
        help="smooth the map by a bell curve of this deviation (default 0: not at all)",
    )


def check_output(options: argparse.Namespace) -> None:
    """See before anything is asked that something is left of it, and that it can be drawn.

    Raises:
        UsageError: Nothing would be, or it cannot.
    """
    if options.output is None and options.maps is None and not options.json:
        raise UsageError(
            "nothing would be left of it: give a folder for drawings (--output) or for the maps "
            "as numbers (--maps), or --json"
        )
    try:
        Normalisation(options.clip, options.sign, options.smooth)
    except PictureError as error:
        raise UsageError(str(error)) from error


class ExplanationOutput:
    """Writes explanations into the folders that were named, and tells of each.

    Raises:
        CommandError: One of them is no folder, or cannot be written into.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._drawings = OutputFolder(options.output) if options.output is not None else None
        self._maps = OutputFolder(options.maps) if options.maps is not None else None

    def take(
        self, path: str, explanation: Explanation, classes: Sequence[Classification]
    ) -> dict[str, object]:
        """Write what is wanted of one explanation, and give what is reported of it."""
        files = {
            "drawing": self._draw(path, explanation),
            "map": self._write_map(path, explanation),
        }
        if not self._options.json:
            said = f"{explanation.title}, {explanation.score_name} {explanation.score:.4g}"
            written = ", ".join(str(file) for file in files.values() if file is not None)
            print(f"{path}: {said} -> {written}")
        if not explanation.attributions.any():
            tell_line(f"{path}: {self._why_empty(explanation)}")
        return _report(path, explanation, classes) | files

    def _why_empty(self, explanation: Explanation) -> str:
        against = explanation.against
        if explanation.title == f"{against} rather than {against}":
            return (
                f"nothing to show: {against}, which is explained as a top class, stands against "
                "itself; give another --against, or a --target"
            )
        remedy = "" if self._options.score == "logit" else "; try --score logit"
        return f"no gradient at all: the score does not react to any pixel{remedy}"

    def _draw(self, path: str, explanation: Explanation) -> Path | None:
        if self._drawings is None:
            return None
        file = self._drawings.file_for(path, _file_part(explanation), ".png")
        options = self._options
        explanation.save(file, clip=options.clip, sign=options.sign, smooth=options.smooth)
        return file

    def _write_map(self, path: str, explanation: Explanation) -> Path | None:
        if self._maps is None:
            return None
        file = self._maps.file_for(path, _file_part(explanation), ".npy")
        with telling(OSError):
            np.save(file, explanation.attributions)
        return file


def _file_part(explanation: Explanation) -> str:
    """The method and its parameters in letters that any file system takes."""
    return re.sub(r"[^\w.=+-]+", "-", explanation.method_title)[:_LONGEST_PART].strip("-")


def _report(
    path: str, explanation: Explanation, classes: Sequence[Classification]
) -> dict[str, object]:
    return {
        "image": path,
        "classes": classes,
        "method": explanation.method,
        "parameters": explanation.parameters,
        "model_version": explanation.model_version,
        "target": explanation.target,
        "label": explanation.label,
        "score": explanation.score,
        "score_name": explanation.score_name,
        "against": explanation.against,
        "reports": explanation.reports,
        "shape": explanation.attributions.shape,
        "channel_reduction": explanation.channel_reduction,
        "backend": explanation.backend,
        "explained_original": explanation.original,
    }
