"""More requests than can be answered: what is refused, what is dropped, what runs. Counted."""

import asyncio
import socket
import struct

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server import raw_http2
from tests.server.batching import Executor, FakeClock, make, start, turns
from tests.server.test_app import ROW, Gate, _until
from tests.server.test_queueing import finish_all, held
from tests.server.tiny import BATCHING, affine, infer_request

from eyespot.server.answering import abort
from eyespot.server.batch_growth import BatchGrowth
from eyespot.server.errors import DeadlineExceededError, QueueFullError, WaitTooLongError
from eyespot.server.wait_estimate import WaitEstimate
from eyespot.v1.services import INFERENCE_SERVICE


@pytest.fixture
def estimate():
    """One row takes a second, and so does each one more."""
    learned = WaitEstimate(1)
    learned.note(None, 1, 1.0)
    return learned


async def refusal(batcher, item, **arguments):
    """The error of a request that is not admitted; it never waits."""
    call = start(batcher, item, **arguments)
    await turns()
    assert call.done()
    return call.exception()


async def test_what_cannot_be_answered_in_time_is_refused_at_once(executor, clock, estimate):
    batcher, busy = await held(executor, clock, max_batch_size=1, estimate=estimate)
    waiting = [start(batcher, item) for item in (1, 2, 3)]
    await turns()
    # Half a second, three, and its own: 4.5 s, and with caution 5.625 s.
    refused = await refusal(batcher, 4, deadline=clock.now + 5.5)
    assert isinstance(refused, WaitTooLongError)
    assert str(refused) == (
        "the answer is expected in 5.625 s, and the deadline is in 5.500 s; 3 requests wait"
    )
    assert refused.wait_seconds == pytest.approx(0.125)
    in_time = start(batcher, 5, deadline=clock.now + 5.75)
    await turns()
    await finish_all(executor, busy, *waiting, in_time)
    assert executor.batches == [[0], [1], [2], [3], [5]]


async def test_who_sets_no_deadline_is_admitted(executor, clock, estimate):
    batcher, busy = await held(executor, clock, max_batch_size=1, estimate=estimate)
    waiting = [start(batcher, item) for item in range(1, 9)]
    await turns()
    assert batcher.queue_size == 8
    await finish_all(executor, busy, *waiting)


async def test_where_nothing_has_run_yet_all_are_admitted(executor, clock):
    batcher, busy = await held(executor, clock, max_batch_size=1, estimate=WaitEstimate(1))
    waiting = [start(batcher, item, deadline=clock.now + 0.001) for item in (1, 2, 3)]
    await turns()
    assert batcher.queue_size == 3
    await finish_all(executor, busy, *waiting)


async def test_where_nobody_waits_one_is_tried_whatever_was_learned(executor, clock, estimate):
    """Or one bad hour would refuse everybody for ever: nothing would run that could tell better."""
    batcher, busy = await held(executor, clock, max_batch_size=1, estimate=estimate)
    tried = start(batcher, 1, deadline=clock.now + 0.5)
    await turns()
    executor.finish()
    await turns()
    assert executor.batches == [[0], [1]]
    executor.finish()
    assert (await tried).result == -1
    # It took no time, nor did the first one: of the last three the slowest does not count.
    assert estimate.of_batch(None, 1) == 0.0
    await busy


async def test_what_has_become_too_late_in_the_queue_is_dropped(executor, clock, estimate):
    batcher, busy = await held(executor, clock, max_batch_size=1, estimate=estimate)
    late = start(batcher, 1, deadline=clock.now + 5.0)
    await turns()
    in_time = start(batcher, 2)
    await turns()
    clock.advance(4.5)  # the first batch took longer than expected: half a second is left
    executor.finish()
    await turns()
    assert late.done()
    with pytest.raises(DeadlineExceededError, match=r"in 0.500 s, .* takes 1.250 s"):
        await late
    executor.finish()
    await asyncio.gather(busy, in_time)
    assert executor.batches == [[0], [2]]


@pytest.mark.parametrize(
    ("gone", "seconds", "caution"),
    [(False, 1.0, 0.9995), (False, 3.0, 1.05), (True, 3.0, 1.05), (True, 1.0, 1.0)],
    ids=["in time", "late", "late and gone", "gone for another reason"],
)
async def test_how_answers_meet_their_deadlines_is_learned(
    executor, clock, estimate, gone, seconds, caution
):
    batcher = make(executor, clock, max_batch_size=1, estimate=estimate)
    call = start(batcher, 1, deadline=clock.now + 2.0)
    await turns()
    if gone:
        call.cancel()
        await turns()
    clock.advance(seconds)
    executor.finish()
    await turns()
    call.cancel()
    # Of two batches the slower does not count: a row takes a second.
    assert estimate.of_batch(None, 1) == pytest.approx(1.25 * caution * 1.0)


async def test_a_modest_caller_is_not_refused_for_what_a_greedy_one_has_sent(
    executor, clock, estimate
):
    batcher, busy = await held(executor, clock, max_batch_size=1, estimate=estimate)
    greedy = [start(batcher, item, caller="greedy") for item in range(1, 21)]
    await turns()
    refused = await refusal(batcher, 21, caller="greedy", deadline=clock.now + 4.0)
    assert isinstance(refused, WaitTooLongError)
    # Half a second, one of the greedy ones at most, and its own.
    modest = start(batcher, 99, caller="modest", deadline=clock.now + 4.0)
    await turns()
    await finish_all(executor, busy, *greedy, modest)
    assert [99] in executor.batches[:3]


async def test_only_what_is_as_urgent_is_ahead(executor, clock, estimate):
    batcher, busy = await held(
        executor,
        clock,
        max_batch_size=1,
        priority_levels=2,
        default_priority_level=2,
        estimate=estimate,
    )
    waiting = [start(batcher, item, priority=2) for item in range(1, 9)]
    await turns()
    refused = await refusal(batcher, 9, priority=2, deadline=clock.now + 3.0)
    assert isinstance(refused, WaitTooLongError)
    urgent = start(batcher, 10, priority=1, deadline=clock.now + 3.0)
    await turns()
    await finish_all(executor, busy, *waiting, urgent)
    assert executor.batches[:2] == [[0], [10]]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(1, 4)), max_size=30)
)
def test_the_rows_that_wait_are_counted_by_caller_and_priority(arrivals):
    async def check():
        batcher, _ = await held(
            Executor(), FakeClock(), priority_levels=2, default_priority_level=2
        )
        calls = [
            start(batcher, item, rows=rows, caller=caller, priority=priority)
            for item, (caller, priority, rows) in enumerate(arrivals)
        ]
        await turns()
        assert batcher._queue.rows == sum(rows for _, _, rows in arrivals)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert not batcher._queue._waiting

    asyncio.run(check())


async def test_a_full_queue_says_when_it_is_worked_off(executor, clock, estimate):
    batcher, busy = await held(
        executor, clock, max_batch_size=1, max_queue_size=3, estimate=estimate
    )
    waiting = [start(batcher, item) for item in (1, 2, 3)]
    await turns()
    refused = await refusal(batcher, 4)
    assert isinstance(refused, QueueFullError)
    assert refused.wait_seconds == pytest.approx(3.0)
    await finish_all(executor, busy, *waiting)


async def test_batches_are_as_large_as_pays(executor, clock):
    growth = BatchGrowth(4)
    batcher, busy = await held(executor, clock, max_batch_size=4, growth=growth)
    waiting = [start(batcher, item) for item in range(1, 9)]
    waiting += [start(batcher, 9, rows=3)]
    await turns()
    executor.finish()
    await turns()
    for rows in (1, 1, 1, 1, 3, 3):
        growth.note(None, rows, 0.1)  # three rows in the time of one
    await finish_all(executor, busy, *waiting)
    # More than pays is no reason to refuse: what is larger runs alone.
    assert executor.batches == [[0], [1], [2, 3, 4], [5, 6, 7], [8], [9]]


async def test_over_the_wire_the_refusal_says_when_to_ask_again(repository, serving, monkeypatch):
    repository.add("net", affine(), config=BATCHING.format(rows=1, options=""))
    async with serving(sessions=1) as (server, client):
        model = server.dataplane.model("net")
        model._batcher._estimate.note(None, 1, 100.0)
        gate = Gate(model, monkeypatch)
        calls = [asyncio.ensure_future(client.infer("net", x=ROW, timeout=600))]
        await gate.wait_for_run()
        calls.append(asyncio.ensure_future(client.infer("net", x=ROW, timeout=600)))
        await _until(lambda: model.queue_size == 1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.infer("net", x=ROW, timeout=60)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        # Half of 100 s, one ahead, its own, and a quarter more: 312.5 s.
        assert "expected in 312.500 s, and the deadline is in " in refused.value.details()
        pushback = dict(refused.value.trailing_metadata())["grpc-retry-pushback-ms"]
        assert 250_000 <= int(pushback) < 312_500
        gate.open()
        await asyncio.gather(*calls)
        assert model.statistics.execution_count == 2
        assert model.statistics.failures["REJECTED"] == 1


async def test_a_refusal_that_nobody_hears_is_no_fault():
    """Or each call that expires while it is refused would leave its trace in the log."""

    class Gone:
        async def abort(self, *_):
            raise grpc.aio.InternalError

    with pytest.raises(asyncio.CancelledError):
        await abort(Gone(), QueueFullError("too many"))


@pytest.mark.parametrize("way", ["reset", "closed", "cancelled"])
async def test_a_client_that_vanishes_costs_nothing(repository, serving, monkeypatch, way):
    repository.add("net", affine(), config=BATCHING.format(rows=1, options=""))
    message = infer_request("net", x=np.zeros((1, 4), np.float32)).SerializeToString()
    streams = range(1, 41, 2)
    async with serving(sessions=1) as (server, client):
        model = server.dataplane.model("net")
        gate = Gate(model, monkeypatch)
        busy = asyncio.ensure_future(client.infer("net", x=ROW))
        await gate.wait_for_run()
        connection = raw_http2.connect(int(client.address.rpartition(":")[2]))
        path = f"/{INFERENCE_SERVICE}/ModelInfer"
        for stream in streams:
            raw_http2.begin_call(connection, path, message, stream=stream)
        await _until(lambda: model.queue_size == len(streams))
        if way == "cancelled":
            for stream in streams:
                code = (8).to_bytes(4)  # CANCEL
                connection.sendall(raw_http2.frame(raw_http2.RST_STREAM, code, stream=stream))
        else:
            if way == "reset":  # as when its machine is gone: no farewell
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.close()
        await _until(lambda: model.queue_size == 0)
        assert model._waiting_bytes.total == ROW.nbytes  # of the one that runs
        gate.open()
        await busy
        await client.infer("net", x=ROW)
        connection.close()
    assert model.statistics.execution_count == 2
    assert model.statistics.inference_count == 2
    assert model.statistics.failures["CANCELED"] == len(streams)
