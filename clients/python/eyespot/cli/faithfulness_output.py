"""How an evaluation of saliency is printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyespot.cli.output import counted, print_table

if TYPE_CHECKING:
    from eyespot.saliency.faithfulness import Evaluation, Faithfulness

Floats = NDArray[np.float64]


def print_evaluation(evaluation: Evaluation) -> None:
    """Print a line for each method, and how to read it."""
    has_pointing = evaluation.methods[0].accuracy is not None
    has_check = bool(evaluation.layers)
    heads = ["METHOD", "DELETION", "+-", "INSERTION", "+-"]
    heads += ["POINTING"] * has_pointing + ["SIGNED", "MAGNITUDES"] * has_check
    rows = []
    for method in evaluation.methods:
        row: list[object] = [method.name]
        for found in (method.deletion_areas, method.insertion_areas):
            row += [float(found.mean()), _standard_error(found)]
        if has_pointing:
            row.append(method.accuracy)
        if has_check:
            row += [_at_the_end(method.signed), _at_the_end(method.magnitudes)]
        rows.append(row)
    print_table(heads, rows)
    print(
        f"\n{counted(len(evaluation.classes), 'picture')}, of which the network's top class is "
        f"explained (probability {evaluation.probabilities.mean():.3g} in the mean)"
        "\ndeletion    area under the probability while a map's first pixels go: low is good"
        "\ninsertion   the same while they come: high is good; +- is the standard error"
        "\nrandom      what chance reaches: single pixels for maps of such, patches for smooth maps"
    )
    if has_pointing:
        print("pointing    share of maps whose largest value lies on the object: high is good")
    if has_check:
        print(
            "signed      rank correlation of the map with that of the network with random weights:"
            " near 0 is good\nmagnitudes  the same of the map's magnitudes"
        )


def evaluation_json(
    evaluation: Evaluation, paths: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Give all that was measured, in plain values."""
    rows = zip(paths, evaluation.classes.tolist(), evaluation.probabilities.tolist(), strict=True)
    return {
        "images": [
            {
                "image": path,
                "target": index,
                "label": labels[index] if labels else "",
                "probability": probability,
            }
            for path, index, probability in rows
        ],
        "shares": evaluation.shares.tolist(),
        "methods": [_method_json(method, evaluation.layers) for method in evaluation.methods],
    }


def _method_json(method: Faithfulness, layers: Sequence[str]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": method.name,
        "deletion": _curves_json(method.deletion, method.deletion_areas),
        "insertion": _curves_json(method.insertion, method.insertion_areas),
        "pointing": None,
        "randomisation": None,
    }
    if method.hits is not None:
        told["pointing"] = {"accuracy": method.accuracy, "hits": method.hits.tolist()}
    if method.signed is not None and method.magnitudes is not None:
        rows = zip(layers, method.signed, method.magnitudes, strict=True)
        told["randomisation"] = [
            {"layer": layer, "signed": float(signed.mean()), "magnitudes": float(plain.mean())}
            for layer, signed, plain in rows
        ]
    return told


def _curves_json(curves: Floats, areas: Floats) -> dict[str, Any]:
    return {
        "area": float(areas.mean()),
        "standard_error": _standard_error(areas),
        "areas": areas.tolist(),
        "curve": curves.mean(0).tolist(),
    }


def _standard_error(values: Floats) -> float | None:
    """Of the mean; one value has none."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def _at_the_end(correlations: Floats | None) -> float | None:
    """The mean over the pictures, where every layer is random."""
    return None if correlations is None else float(correlations[-1].mean())
