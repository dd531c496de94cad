"""What a port does with calls that its event loop could not read for a while."""

import asyncio

import pytest
from tests.server import raw_http2

from eyespot.server import door
from eyespot.v1.services import INFERENCE_SERVICE

CALLS = range(1, 9, 2)  # by the numbers of their streams
CANCELLED = b"grpc-status\x011"


def send_to_a_loop_that_stands_still(connection):
    """Returns when gRPC has the calls: whoever calls this keeps the event loop busy meanwhile."""
    for stream in CALLS:
        raw_http2.begin_call(connection, f"/{INFERENCE_SERVICE}/ServerLive", b"", stream=stream)
    connection.sendall(raw_http2.frame(raw_http2.PING, bytes(8)))
    for kind, flags, _ in raw_http2.frames(connection):
        if kind == raw_http2.PING and flags:
            return
    raise AssertionError("the connection has ended")


def read_ends(connection):
    """The last headers of each call."""
    ends = []
    for kind, flags, payload in raw_http2.frames(connection):
        if kind == raw_http2.HEADERS and flags & 1:  # the end of its stream
            ends.append(payload)
        if len(ends) == len(CALLS) or any(CANCELLED in end for end in ends):
            return ends
    raise AssertionError("the connection has ended")


@pytest.mark.parametrize("is_patient", [True, False])
async def test_calls_that_waited_for_the_loop_are_not_cancelled(serving, monkeypatch, is_patient):
    """A machine that was overfull, or stood still, must not cancel what nobody cancelled.

    gRPC itself does so after half a minute; after no time at all it shows what is spared.
    """
    assert door._LONGEST_UNREAD_SECONDS >= 24 * 3600
    if not is_patient:
        monkeypatch.setattr(door, "_LONGEST_UNREAD_SECONDS", 0)
    async with serving() as (_, client):
        with raw_http2.connect(int(client.address.rpartition(":")[2])) as connection:
            send_to_a_loop_that_stands_still(connection)
            ends = await asyncio.to_thread(read_ends, connection)
    assert any(CANCELLED in end for end in ends) == (not is_patient)
