"""All that is fuzzed, and how much of it."""

import random

from tests.fuzz.calls import (
    make_explanation,
    make_inference,
    make_question,
    make_socket_call,
    make_stream,
    run_call,
    run_socket_call,
)
from tests.fuzz.fault import Parts, Target
from tests.fuzz.picture_files import make_picture, run_picture
from tests.fuzz.repositories import (
    make_config,
    make_graph,
    make_manifest,
    make_warmup,
    run_repository,
)

TARGETS = (
    Target("ModelInfer", 40, make_inference, run_call),
    Target("ModelStreamInfer", 8, make_stream, run_call),
    Target("ExplainService", 10, make_explanation, run_call),
    Target("operations", 10, make_question, run_call),
    Target("through a socket", 6, make_socket_call, run_socket_call),
    Target("config.pbtxt", 8, make_config, run_repository),
    Target("model_warmup", 3, make_warmup, run_repository),
    Target("manifest.json", 5, make_manifest, run_repository),
    Target("model.onnx", 5, make_graph, run_repository),
    Target("picture headers", 5, make_picture, run_picture),
)


def draw_input(seed: int, number: int) -> tuple[Target, Parts]:
    """The input of a number: the same whenever it is drawn, and whatever was before it."""
    draw = random.Random(f"{seed}/{number}")
    (target,) = draw.choices(TARGETS, [target.share for target in TARGETS])
    return target, target.make(draw)
