"""The bound on what waits, by hand and over the wire."""

import asyncio

import grpc
import numpy as np
import pytest
from tests.server.test_app import Gate
from tests.server.tiny import BATCHING, affine, infer_request

from eyespot.server.config import ServerConfig
from eyespot.server.errors import ConfigError, WaitingBytesError
from eyespot.server.waiting_bytes import WaitingBytes, bytes_of


def hold(waiting, size, caller):
    holding = waiting.holding(size, caller)
    holding.__enter__()
    return holding


def test_a_caller_that_is_alone_may_have_half():
    waiting = WaitingBytes(100)
    held = [hold(waiting, 25, "greedy") for _ in range(2)]
    with (
        pytest.raises(WaitingBytesError, match="max_waiting_mib") as refused,
        waiting.holding(1, "greedy"),
    ):
        pass
    assert refused.value.wait_seconds == 1.0
    assert waiting.total == 50
    held.pop().__exit__(None, None, None)
    with waiting.holding(25, "greedy"):
        assert waiting.total == 50
    assert waiting.total == 25


def test_who_has_nothing_waiting_may_take_all_that_is_free():
    waiting = WaitingBytes(100)
    with waiting.holding(50, "greedy"), waiting.holding(40, "modest"):
        with pytest.raises(WaitingBytesError), waiting.holding(11, "other"):
            pass
        with waiting.holding(10, "other"):
            assert waiting.total == 100


def test_one_request_may_be_as_large_as_the_bound():
    waiting = WaitingBytes(100)
    with waiting.holding(100, "one"):
        assert waiting.total == 100


def test_an_error_gives_back_what_was_held():
    waiting = WaitingBytes(100)
    with pytest.raises(RuntimeError), waiting.holding(60, "one"):
        raise RuntimeError
    assert waiting.total == 0


def test_of_texts_the_contents_count():
    texts = np.array([[b"four", b"at"]], object)
    assert bytes_of([texts, np.zeros((2, 3), np.float32)]) == 4 + 2 + 2 * 3 * 4


def test_the_bound_holds_the_largest_request():
    with pytest.raises(ConfigError, match="max_waiting_mib 32 must be at least max_request_mib 64"):
        ServerConfig(repository="models", max_waiting_mib=32)


async def test_over_the_wire_all_models_have_one_bound(repository, serving, monkeypatch):
    for name in ("one", "other"):
        repository.add(name, affine(width=100_000), config=BATCHING.format(rows=1, options=""))
    row = np.zeros((1, 100_000), np.float32)  # 0.38 MiB: two are more than half of the bound
    async with serving(sessions=1, max_request_mib=1, max_waiting_mib=1) as (server, client):
        gates = [Gate(server.dataplane.model(name), monkeypatch) for name in ("one", "other")]
        calls = [asyncio.ensure_future(client.infer("one", x=row))]
        await gates[0].wait_for_run()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.inference.ModelInfer(infer_request("other", x=row))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "max_waiting_mib" in refused.value.details()
        assert dict(refused.value.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"
        for gate in gates:
            gate.open()
        await asyncio.gather(*calls)
        await client.infer("other", x=row)  # what was held is given back
