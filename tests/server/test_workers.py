"""Worker threads: what they give back, and what becomes of work whose thread dies."""

import asyncio
import os
import sys
import threading

import pytest

from eyespot.server.errors import UnavailableError, WorkerDiedError
from eyespot.server.workers import Workers


@pytest.fixture
def workers():
    workers = Workers(1, name="tested")
    yield workers
    workers.close()


def _die():
    raise SystemExit("as a thread dies of what is no Exception")


async def test_results_and_errors_come_back(workers):
    assert await workers.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await workers.run(divmod, 7, 0)


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere threads have no niceness of their own"
)
async def test_workers_step_back_behind_the_event_loop(workers):
    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert await workers.run(niceness) == min(niceness() + 10, 19)


async def test_a_thread_that_dies_is_replaced_and_what_waited_behind_it_runs(workers, caplog):
    before = await workers.run(threading.get_ident)
    gate = threading.Event()

    def wait_and_die():
        gate.wait(60)
        _die()

    killed = asyncio.ensure_future(workers.run(wait_and_die))
    behind = asyncio.ensure_future(workers.run(threading.current_thread))
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(WorkerDiedError, match="the thread that ran the request died"):
        await killed
    successor = await behind
    assert successor.ident != before
    assert successor.name == "tested"
    assert "a thread of tested died and is replaced" in caplog.text


async def test_no_more_threads_than_asked_for(workers):
    names = {await workers.run(threading.get_ident) for _ in range(5)}
    assert len(names) == 1


async def test_without_a_thread_the_request_is_told_and_the_next_one_tries_again(
    workers, monkeypatch
):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(WorkerDiedError, match="no thread can be started"):
            await workers.run(int)
    assert await workers.run(int) == 0


async def test_closing_waits_for_nothing_and_cancels_what_waits(workers):
    gate, entered = threading.Event(), threading.Event()

    def hold():
        entered.set()
        gate.wait(60)

    running = asyncio.ensure_future(workers.run(hold))
    waiting = asyncio.ensure_future(workers.run(int))
    await asyncio.to_thread(entered.wait, 60)
    workers.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(UnavailableError):
        await workers.run(int)
    gate.set()
    assert await running is None
