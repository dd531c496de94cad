"""Rows in several requests, while the model is replaced by another version of it."""

import numpy as np
import pytest
from tests.client.fake import read_inputs

from eyespot.client import ModelReplacedError
from eyespot.v1 import inference_pb2 as pb

RED, GREEN, BLUE = np.eye(3, dtype=np.uint8)
# Two rows go into one request, so that these are asked about in three.
COLOURS = [RED, GREEN, BLUE, RED, BLUE]


def pictures(kind):
    side = {"colors": 2, "scene": 4}[kind]
    return [np.broadcast_to(colour, (side, side, 3)) for colour in COLOURS]


def infer(client):
    return client.infer("colors", pictures("colors")).outputs["logits"].argmax(axis=1).tolist()


def classify(client):
    return [best.index for best, *_ in client.classify("colors", pictures("colors"))]


def embed(client):
    return client.embed("scene", pictures("scene")).argmax(axis=1).tolist()


def segment(client):
    return [int(each.classes[0, 0]) for each in client.segment("scene", pictures("scene"))]


@pytest.mark.parametrize("ask", [infer, classify, embed, segment])
def test_all_is_asked_again_of_the_version_that_came(client, servicer, ask):
    assert ask(client) == [0, 1, 2, 0, 2]
    once = len(servicer.of(pb.ModelInferRequest))
    known = len(servicer.of(pb.ModelConfigRequest))
    servicer.versions = ["2"] * (once - 1) + ["3"] * (once + 1)
    assert ask(client) == [0, 1, 2, 0, 2]
    assert servicer.versions == []
    # What was known of the version that is gone is asked for anew.
    assert len(servicer.of(pb.ModelConfigRequest)) == known + 1


@pytest.mark.parametrize("ask", [infer, classify, embed, segment])
def test_who_is_replaced_again_is_told(client, servicer, ask):
    servicer.versions = ["2", "3", "3", "4"]
    with pytest.raises(
        ModelReplacedError,
        match=r"model '(colors|scene)' was replaced while it was asked: [12] answers are of "
        r"version 3, the next would be of version 4; ask again, or name a model_version",
    ):
        ask(client)


def test_the_answer_says_which_version_it_is_of(client, servicer):
    servicer.versions = ["2", "3", "3", "3", "3"]
    result = client.infer("colors", pictures("colors"))
    assert result.model_version == "3"
    first = servicer.of(pb.ModelInferRequest)[2]
    assert read_inputs(first)["image"][0, 0, 0].tolist() == RED.tolist()
