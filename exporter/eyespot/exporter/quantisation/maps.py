"""Whether a quantised network looks at the same places as its original, by occlusion.

A graph of whole numbers has no gradients, so the maps that are compared are those that both can
be asked for alike: by how much the score falls when a square hides the pixel (Zeiler, Fergus
2013), for the source's top class, on ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eyespot.exporter.parity import Batch, Run
from eyespot.exporter.quantisation.source import Source
from eyespot.saliency import Objective, SessionScorer, Targets, find_method
from eyespot.saliency.faithfulness.sanity_checks import rank_correlation

METHOD = "occlusion"
# Squares of a quarter of the side at half their own distance: 49 and more of them.
_SQUARES = 4


def map_correlation(source: Source, original: Run, derived: Run, batches: Sequence[Batch]) -> float:
    """Give the mean rank correlation of both networks' maps of some pictures.

    Args:
        source: A classifier of pictures.
        original: Its graph.
        derived: The quantised one.
        batches: Pictures.
    """
    found = []
    scorers = [_scorer(source, run) for run in (original, derived)]
    axis = source.manifest.channel_axis
    for picture in (row[None] for batch in batches for row in batch.inputs[0]):
        shorter = min(size for number, size in enumerate(picture.shape) if number not in (0, axis))
        window = max(1, shorter // _SQUARES)
        top = scorers[0].scores(picture).argmax(axis=1)
        maps = [
            find_method(METHOD)
            .explain(scorer, picture, Objective(Targets(top), "logit"), window=window)
            .attributions
            for scorer in scorers
        ]
        found.append(float(rank_correlation(*maps)[0]))
    return float(np.mean(found))


def _scorer(source: Source, run: Run) -> SessionScorer:
    sizes = source.manifest.outputs[0].shape[1:]
    return SessionScorer(
        lambda x: run(x)[0],
        output_shape=[size if isinstance(size, int) else -1 for size in sizes],
        channel_axis=source.manifest.channel_axis,
        max_rows=source.max_batch_size,
    )
