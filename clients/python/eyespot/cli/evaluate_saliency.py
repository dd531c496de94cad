"""`eyespot evaluate-saliency`: do the maps of a method show what the network goes by?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyespot.cli.argument_types import at_least_one, none_or_more, parameter, seed
from eyespot.cli.box_file import Box, place_boxes, read_boxes
from eyespot.cli.entry_place import split_entry
from eyespot.cli.errors import FAILURE, OK, CommandError, tell_error, telling
from eyespot.cli.evaluated_model import EvaluatedModel, open_model
from eyespot.cli.faithfulness_output import evaluation_json, print_evaluation
from eyespot.cli.output import add_json_argument, counted, print_json
from eyespot.cli.progress import showing_progress
from eyespot.client import EyespotError
from eyespot.client.pictures import load_picture
from eyespot.v1.preprocessing import PreprocessingError

if TYPE_CHECKING:
    from eyespot.saliency import ParameterValue
    from eyespot.saliency.faithfulness import MethodToEvaluate, Objects

# Quick ones of each kind; then those that need no original.
_DEFAULT_METHODS = ("saliency", "guided_backprop", "integrated_gradients", "grad_cam")
_DEFAULT_WITHOUT_ORIGINAL = ("occlusion", "rise")

Asked = tuple[str, str, dict[str, "ParameterValue"]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "model",
        metavar="REPOSITORY/MODEL[/VERSION]",
        help="folder of a model that classifies pictures (default the latest version)",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files")
    parser.add_argument(
        "--method",
        action="append",
        type=_method,
        metavar="NAME[:PARAMETER=VALUE,...]",
        dest="methods",
        help="such as rise:n_masks=200; may be repeated (default "
        f"{', '.join(_DEFAULT_METHODS)}; {' and '.join(_DEFAULT_WITHOUT_ORIGINAL)} of a model "
        "without a PyTorch original)",
    )
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="where the objects are, for the pointing game: CSV or JSON with "
        "image,x_min,y_min,x_max,y_max and perhaps label",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the curves as a PNG")
    parser.add_argument(
        "--steps", type=at_least_one, default=50, metavar="N",
        help="of deletion and insertion (default 50)",
    )  # fmt: skip
    parser.add_argument(
        "--cascade-steps", type=none_or_more, default=10, metavar="N",
        help="layers at which random weights are looked at, evenly spaced; 0 for no sanity check "
        "(default 10)",
    )  # fmt: skip
    parser.add_argument(
        "--channel-reduction", choices=("max", "mean"), default="max",
        help="whose order counts: the largest magnitude, or the signed mean (default max)",
    )  # fmt: skip
    parser.add_argument(
        "--explain-memory-mib", type=at_least_one, default=1024, metavar="MIB",
        help="memory that gradients may take beside the weights (default 1024)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=at_least_one, metavar="N",
        help="that compute gradients; 1 is best for small networks (default PyTorch's choice)",
    )  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="of all that is random (default 0)")
    add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate; a picture that cannot be read makes the exit code 1."""
    boxes = None if options.boxes is None else read_boxes(options.boxes)
    with showing_progress() as tell:
        tell("loading PyTorch")
        from eyespot.exporter import ExportError
        from eyespot.exporter.faithfulness_picture import draw_faithfulness
        from eyespot.saliency import SaliencyError
        from eyespot.saliency.faithfulness import evaluate_faithfulness

        with telling(ExportError, SaliencyError, OSError):
            model = open_model(
                *split_entry(options.model),
                num_threads=options.threads,
                memory_mib=options.explain_memory_mib,
            )
            methods, notes = _choose(options.methods, model)
            pictures = _read(options.images)
            x = _prepare(pictures, model)
            objects, unseen = _place(boxes, pictures, model)
            evaluation = evaluate_faithfulness(
                model.scorer,
                x,
                methods,
                backend=model.backend,
                baseline=model.mean_pixel,
                objects=objects,
                channel_reduction=options.channel_reduction,
                steps=options.steps,
                cascade_steps=options.cascade_steps,
                seed=options.seed,
                progress=tell,
            )
            picture = _picture_of(options.output, model)
            if picture is not None:
                title = f"{model.name} version {model.version}, {counted(len(x), 'picture')}"
                draw_faithfulness(evaluation, picture, title=title)
    notes += unseen
    if options.json:
        told = evaluation_json(evaluation, list(pictures), model.labels)
        asked = {
            name: getattr(options, name)
            for name in ("steps", "cascade_steps", "channel_reduction", "seed")
        }
        head = {"model_name": model.name, "model_version": model.version}
        print_json({**head, **asked, **told, "picture": picture, "notes": notes})
    else:
        print_evaluation(evaluation)
        for note in notes:
            print(note)
        if picture is not None:
            print(f"drawn in {picture}")
    return OK if len(pictures) == len(set(options.images)) else FAILURE


def _method(text: str) -> Asked:
    """Read NAME[:PARAMETER=VALUE,...]."""
    name, _, parameters = text.partition(":")
    return text, name, dict(map(parameter, parameters.split(","))) if parameters else {}


def _choose(
    asked: Sequence[Asked] | None, model: EvaluatedModel
) -> tuple[list[MethodToEvaluate], list[str]]:
    """Find the methods; of those that nobody asked for, the ones that work."""
    from eyespot.saliency import UnavailableMethodError, find_method
    from eyespot.saliency.faithfulness import MethodToEvaluate

    computing = model.backend or model.scorer
    notes = []
    if model.backend is None:
        notes.append(f"no sanity check: {model.no_backend}, so there are no weights to randomise")
    if asked is not None:
        chosen = [MethodToEvaluate(text, find_method(name), given) for text, name, given in asked]
        for each in chosen:
            if model.backend is None and each.method.needs_gradients:
                raise CommandError(
                    f"{each.method.name} needs gradients, and of {model.name} there are none: "
                    f"{model.no_backend}; ask for {' or '.join(_DEFAULT_WITHOUT_ORIGINAL)}"
                )
        return chosen, notes
    names = _DEFAULT_METHODS if model.backend is not None else _DEFAULT_WITHOUT_ORIGINAL
    found = []
    for name in names:
        method = find_method(name)
        try:
            method.check_backend(computing)
        except UnavailableMethodError as error:
            notes.append(f"{name} is left out: {error}")
        else:
            found.append(MethodToEvaluate(name, method, {}))
    return found, notes


def _read(paths: Sequence[str]) -> dict[str, Image.Image]:
    """Read pictures by their paths; one that is broken is told and spoils no other."""
    found = {}
    for path in dict.fromkeys(paths):
        try:
            found[path] = load_picture(path)
        except EyespotError as error:
            tell_error(str(error))
    if not found:
        raise CommandError("there is no picture left to evaluate on")
    return found


def _prepare(pictures: dict[str, Image.Image], model: EvaluatedModel) -> NDArray[np.uint8]:
    """Give pictures as the network takes them, (B, H, W, C)."""
    with telling(PreprocessingError):
        rows = {path: model.rule.apply(picture) for path, picture in pictures.items()}
    first, *others = rows
    for path in others:
        if rows[path].shape != rows[first].shape:
            raise CommandError(
                f"{model.name} takes pictures of any size, and they must have one here: {first} "
                f"has {rows[first].shape[:2]}, {path} has {rows[path].shape[:2]}"
            )
    return np.stack(list(rows.values()))


def _place(
    boxes: Sequence[Box] | None, pictures: dict[str, Image.Image], model: EvaluatedModel
) -> tuple[Objects | None, list[str]]:
    if boxes is None:
        return None, []
    classes = model.scorer.output_shape[0]
    assert classes is not None
    return place_boxes(boxes, pictures, model.rule, model.labels, classes=classes)


def _picture_of(folder: Path | None, model: EvaluatedModel) -> Path | None:
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{model.name}-faithfulness.png"
