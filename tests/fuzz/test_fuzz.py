"""The fuzzer itself, and a few hundred inputs of one seed: `make fuzz` tries a hundred thousand."""

import json
import random

import pytest
from tests.fuzz.campaign import Tally, fuzz, replay
from tests.fuzz.fault import FaultError
from tests.fuzz.message_mutation import mutate_message
from tests.fuzz.mutation import mutate_json
from tests.fuzz.targets import TARGETS, draw_input

from eyespot.server.decoding import Signature
from eyespot.v1 import inference_pb2 as pb


async def _tally(numbers, folder):
    total = Tally()
    async for tally in fuzz(11, numbers, folder, with_original=False):
        total.add(tally)
    return total


async def test_inputs_that_nobody_should_send_do_no_harm(tmp_path):
    tally = await _tally(range(300), tmp_path)
    assert {finding.path.read_text() for finding in tally.findings} == set()
    assert tally.outcomes.total() == 300
    assert {target for target, _ in tally.outcomes} == {target.name for target in TARGETS}
    infers = {outcome for target, outcome in tally.outcomes if target == "ModelInfer"}
    assert infers >= {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}  # what is drawn is not all alike


async def test_a_fault_is_found_written_down_and_played_again(tmp_path, monkeypatch):
    monkeypatch.setattr(Signature, "_read_output", lambda *_: 1 // 0)
    numbers = [n for n in range(60) if draw_input(11, n)[0].name == "ModelInfer"]
    tally = await _tally(numbers, tmp_path)
    (finding,) = tally.findings
    assert finding.where.startswith("ZeroDivisionError")
    with pytest.raises(FaultError, match="INTERNAL: internal error"):
        await replay(finding.path, with_original=False)
    monkeypatch.undo()
    await replay(finding.path, with_original=False)  # mended, it raises no more


def test_a_number_is_always_the_same_input():
    inputs = [draw_input(5, number) for number in range(40)]
    assert inputs == [draw_input(5, number) for number in range(40)]
    assert len({str(parts) for _, parts in inputs}) == 40


def test_messages_are_changed_and_stay_messages():
    draw = random.Random(3)
    sound = pb.ModelInferRequest(model_name="m", raw_input_contents=[b"abc"])
    sound.inputs.add(name="x", shape=[1, 2]).parameters["p"].int64_param = 1
    seen = set()
    for _ in range(200):
        changed = pb.ModelInferRequest.FromString(sound.SerializeToString())
        mutate_message(changed, draw, words=("word",))
        raw = changed.SerializeToString(deterministic=True)
        assert pb.ModelInferRequest.FromString(raw).SerializeToString(deterministic=True) == raw
        seen.add(raw)
    assert len(seen) > 120
    assert any(b"word" in raw for raw in seen)


def test_json_is_changed_and_what_it_was_made_of_is_not():
    draw, value = random.Random(3), {"a": [1, {"b": "c"}], "d": None}
    before = json.dumps(value)
    assert len({json.dumps(mutate_json(value, draw)) for _ in range(100)}) > 50
    assert json.dumps(value) == before
