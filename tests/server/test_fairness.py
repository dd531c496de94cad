"""A greedy and a modest caller: what the modest one waits for, by hand; no time passes."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.batching import start, turns
from tests.server.test_app import Gate, _until
from tests.server.test_queueing import finish_all, held
from tests.server.tiny import BATCHING, affine, infer_request

from eyespot.server import fairness
from eyespot.server.errors import QueueFullError
from eyespot.server.fairness import Turns
from eyespot.server.queueing import QueuePolicy
from eyespot.v1.services import InferenceStub


async def test_the_modest_one_waits_for_one_request_of_the_greedy(executor, clock):
    batcher, busy = await held(executor, clock, max_batch_size=1)
    calls = [start(batcher, item, caller="greedy") for item in (1, 2, 3, 4)]
    await turns()
    calls += [start(batcher, 10 + item, caller="modest") for item in (1, 2)]
    await turns()
    await finish_all(executor, busy, *calls)
    assert executor.batches == [[0], [1], [11], [2], [12], [3], [4]]


async def test_turns_count_rows_and_not_requests(executor, clock):
    batcher, busy = await held(executor, clock, max_batch_size=4)
    calls = [start(batcher, item, rows=4, caller="greedy") for item in (1, 2, 3)]
    calls += [start(batcher, 10 + item, rows=1, caller="modest") for item in range(6)]
    await turns()
    await finish_all(executor, busy, *calls)
    # Turns: 1 has 0, 2 has 4, 3 has 8; 10 to 15 have 0 to 5.
    assert executor.batches == [[0], [1], [10, 11, 12, 13], [2], [14, 15], [3]]


async def test_other_shapes_do_not_push_in(executor, clock):
    batcher, busy = await held(executor, clock, max_batch_size=1)
    calls = [start(batcher, item, key=item, caller="greedy") for item in (1, 2, 3)]
    calls += [start(batcher, 11, key="own", caller="modest")]
    await turns()
    await finish_all(executor, busy, *calls)
    assert executor.batches == [[0], [1], [11], [2], [3]]


async def test_a_full_queue_makes_room_for_who_has_less_in_it(executor, clock):
    batcher, busy = await held(executor, clock, max_batch_size=1, max_queue_size=3)
    greedy = [start(batcher, item, caller="greedy") for item in (1, 2, 3)]
    await turns()
    modest = [start(batcher, 11, caller="modest")]
    await turns()
    with pytest.raises(QueueFullError):  # the last of the greedy ones has made room
        await greedy.pop()
    # Two against one: one more for the modest would only turn the tables.
    with pytest.raises(QueueFullError):
        await start(batcher, 12, caller="modest")
    with pytest.raises(QueueFullError):
        await start(batcher, 4, caller="greedy")
    await finish_all(executor, busy, *greedy, *modest)
    assert executor.batches == [[0], [1], [11], [2]]
    assert batcher.queue_size == 0


async def test_a_bound_of_a_priority_is_nobodys_to_make_room_in(executor, clock):
    policy = QueuePolicy(max_queue_size=2)
    batcher, busy = await held(executor, clock, max_batch_size=1, default_policy=policy)
    greedy = [start(batcher, item, caller="greedy") for item in (1, 2)]
    await turns()
    with pytest.raises(QueueFullError):
        await start(batcher, 11, caller="modest")
    await finish_all(executor, busy, *greedy)
    assert executor.batches == [[0], [1], [2]]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 8)), max_size=60))
def test_while_two_wait_neither_gets_more_than_a_request_ahead(arrivals):
    """The paper's theorem 1: rows that two waiting callers get differ by at most a request each."""
    clock = Turns()
    waiting = [(clock.next(who, rows), n, who, rows) for n, (who, rows) in enumerate(arrivals)]
    got = dict.fromkeys("abc", 0)
    left = {who: sum(w[2] == who for w in waiting) for who in "abc"}
    largest = {who: max((w[3] for w in waiting if w[2] == who), default=0) for who in "abc"}
    for turn, _, who, rows in sorted(waiting):
        clock.begin(turn)
        got[who] += rows
        left[who] -= 1
        for other in "abc":
            if left[who] and left[other]:
                assert abs(got[who] - got[other]) <= largest[who] + largest[other]


def test_who_is_not_ahead_is_forgotten(monkeypatch):
    monkeypatch.setattr(fairness, "_REMEMBERED", 2)
    clock = Turns()
    for number in range(5):
        clock.begin(clock.next(f"caller {number}", 1) + 1)
    assert len(clock._ends) <= 2


async def test_over_the_wire_a_modest_caller_is_second(repository, serving, tmp_path, monkeypatch):
    repository.add("net", affine(), config=BATCHING.format(rows=1, options=""))
    path = tmp_path / "tokens.toml"
    path.write_text(
        "".join(f'[{n}]\ntoken = "{n * 4}"\nrights = ["infer"]\n' for n in ("greedy", "modest"))
    )
    order = []
    async with serving(sessions=1, token_file=path) as (server, client):
        model = server.dataplane.model("net", "")
        gate = Gate(model, monkeypatch)
        stub = InferenceStub(client.channel)

        async def call(who):
            request = infer_request("net", x=np.zeros((1, 4), np.float32))
            await stub.ModelInfer(request, metadata=[("authorization", f"Bearer {who * 4}")])
            order.append(who)

        calls = [asyncio.create_task(call("greedy")) for _ in range(9)]
        await gate.wait_for_run()
        await _until(lambda: model.queue_size == 8)
        calls.append(asyncio.create_task(call("modest")))
        await _until(lambda: model.queue_size == 9)
        gate.open()
        await asyncio.gather(*calls)
    # One greedy request was running, and one had come for the same turn.
    assert order.index("modest") <= 3
