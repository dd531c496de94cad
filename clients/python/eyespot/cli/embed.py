"""`eyespot embed`: pictures to a server, and how far apart they are back."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.cli.argument_types import positive_number
from eyespot.cli.connection import add_server_arguments, connected
from eyespot.cli.errors import FAILURE, OK
from eyespot.cli.output import add_json_argument, print_json, print_table
from eyespot.cli.picture_files import add_picture_arguments, ask_about, model_to_ask
from eyespot.v1.tensors import Array

Distances = NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_picture_arguments(parser)
    parser.add_argument(
        "--threshold",
        type=positive_number,
        metavar="DISTANCE",
        help="tell which pictures show the same: pairs whose squared distance is below it "
        "(FaceNet's paper has 1.242; choose it on pairs that you know)",
    )
    add_server_arguments(parser)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Print the squared distances between the pictures, or the vectors as JSON."""
    paths: list[str] = []
    vectors: list[Array] = []
    with connected(options) as client:
        model = model_to_ask(client, options)

        def ask(some: Sequence[str]) -> list[Array]:
            return list(client.embed(model.name, some, model_version=model.version))

        for path, vector in ask_about(options.images, ask):
            paths.append(path)
            vectors.append(vector)
    apart = _squared_distances(vectors)
    pairs = list(_pairs(paths, apart, threshold=options.threshold))
    if options.json:
        answered = [
            {"image": path, "embedding": vector.tolist()}
            for path, vector in zip(paths, vectors, strict=True)
        ]
        print_json({"model_name": model.name, "images": answered, "pairs": pairs})
    elif vectors:
        _print(paths, apart)
        for pair in pairs if options.threshold is not None else ():
            verdict = "the same" if pair["is_same"] else "not the same"
            print(f"{pair['first']} and {pair['second']}: {verdict}")
    return OK if len(paths) == len(options.images) else FAILURE


def _squared_distances(vectors: Sequence[Array]) -> Distances:
    """The squared Euclidean distances between all pairs, (B, B)."""
    values = np.array(vectors, np.float64)  # (B, D)
    distances: Distances = np.square(values[:, None] - values[None]).sum(axis=-1)
    return distances


def _pairs(
    paths: Sequence[str], apart: Distances, *, threshold: float | None
) -> Iterator[dict[str, Any]]:
    """Tell how far apart the pictures of each pair are, and whether they show the same."""
    for first, other in itertools.combinations(range(len(paths)), 2):
        distance = float(apart[first, other])
        pair = {"first": paths[first], "second": paths[other], "squared_distance": distance}
        yield pair if threshold is None else {**pair, "is_same": distance < threshold}


def _print(paths: Sequence[str], apart: Distances) -> None:
    """Print a table of the distances, each pair twice."""
    numbers = [str(number) for number in range(1, len(paths) + 1)]
    rows = [
        [number, path, *map(float, distances)]
        for number, path, distances in zip(numbers, paths, apart, strict=True)
    ]
    print("squared distances between the embeddings")
    print_table(["", "PICTURE", *numbers], rows)
