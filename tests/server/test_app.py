"""The server under load and at its end: nothing lost, nothing mixed up, bounded, exit 0."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.full_disk import files_of_at_most
from tests.server.tiny import (
    BATCHING,
    Client,
    affine,
    infer_request,
    laborious,
    read_outputs,
    status_of,
)

from eyespot.server.app import Server
from eyespot.server.config import ServerConfig
from eyespot.server.errors import StartError
from eyespot.v1 import inference_pb2 as pb

ROW = np.float32([[1, 2, 3, 4]])


class Gate:
    """Holds every run of a model's session until it is opened."""

    def __init__(self, model, monkeypatch):
        self._is_open = threading.Event()
        self.entered = threading.Semaphore(0)
        run = model._session.run
        # The gate blocks a thread, so the model must not run on the event loop.
        monkeypatch.setattr(model, "_runs_on_event_loop", False)
        monkeypatch.setattr(model._batcher, "_execute_now", None)
        monkeypatch.setattr(model._batcher, "_gathering", None)

        def held(*arguments):
            self.entered.release()
            assert self._is_open.wait(60)
            return run(*arguments)

        monkeypatch.setattr(model._session, "run", held)

    async def wait_for_run(self):
        assert await asyncio.to_thread(self.entered.acquire, timeout=60)

    def open(self):
        self._is_open.set()


async def _until(condition):
    """Lets the event loop turn until the condition holds; the test's timeout bounds it."""
    while not condition():  # noqa: ASYNC110  (the states watched have no event)
        await asyncio.sleep(0)


async def test_storm_gives_each_client_its_own_rows(repository, serving):
    repository.add("net", laborious(64, 3), config=BATCHING.format(rows=16, options=""))
    random = np.random.default_rng(7)
    flip = np.eye(64, dtype=np.float32)[::-1]

    async with serving(sessions=1) as (_, client):

        async def one_client(number):
            async with grpc.aio.insecure_channel(
                client.address, options=[("grpc.use_local_subchannel_pool", 1)]
            ) as channel:
                own = Client(channel, client.address)
                for _ in range(50):
                    rows = random.standard_normal((random.integers(1, 6), 64), np.float32)
                    answer = (await own.infer("net", x=rows))["y"]
                    expected = rows @ flip @ flip @ flip
                    assert answer.shape == expected.shape
                    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)
                    sent.append(len(rows))

        sent: list[int] = []
        await asyncio.gather(*(one_client(number) for number in range(64)))
        response = await client.inference.ModelStatistics(pb.ModelStatisticsRequest(name="net"))
        (counted,) = response.model_stats
    assert len(sent) == 64 * 50
    assert counted.inference_count == sum(sent)
    assert counted.inference_stats.success.count == 64 * 50
    assert counted.inference_stats.fail.count == 0
    assert counted.inference_count / counted.execution_count > max(1, np.mean(sent))
    assert sum(b.batch_size * b.compute_infer.count for b in counted.batch_stats) == sum(sent)
    assert sum(b.compute_infer.count for b in counted.batch_stats) == counted.execution_count


async def test_requests_run_alone_without_dynamic_batching(repository, serving, monkeypatch):
    repository.add("net", affine(), config="max_batch_size: 8")
    async with serving(sessions=1) as (server, client):
        model = server.dataplane.model("net")
        gate = Gate(model, monkeypatch)
        calls = [asyncio.ensure_future(client.infer("net", x=ROW)) for _ in range(5)]
        await gate.wait_for_run()
        await _until(lambda: model._batcher.queue_size == 4)
        gate.open()
        await asyncio.gather(*calls)
        assert model.statistics.execution_count == 5


async def test_requests_that_pile_up_share_a_batch(repository, serving, monkeypatch):
    repository.add("net", affine(), config=BATCHING.format(rows=8, options=""))
    async with serving(sessions=1) as (server, client):
        model = server.dataplane.model("net")
        gate = Gate(model, monkeypatch)
        calls = [asyncio.ensure_future(client.infer("net", x=ROW))]
        await gate.wait_for_run()
        calls += [asyncio.ensure_future(client.infer("net", x=ROW * n)) for n in range(2, 7)]
        await _until(lambda: model._batcher.queue_size == 5)
        gate.open()
        answers = await asyncio.gather(*calls)
        assert [a["y"][0, 0] for a in answers] == [3.0, 5.0, 7.0, 9.0, 11.0, 13.0]
        response = await client.inference.ModelStatistics(pb.ModelStatisticsRequest(name="net"))
    sizes = {b.batch_size: b.compute_infer.count for b in response.model_stats[0].batch_stats}
    assert sizes == {1: 1, 5: 1}


async def test_full_queue_refuses_and_the_queued_are_answered(repository, serving, monkeypatch):
    repository.add(
        "net",
        affine(),
        config=BATCHING.format(rows=1, options="default_queue_policy { max_queue_size: 2 }"),
    )
    async with serving(sessions=1) as (server, client):
        model = server.dataplane.model("net")
        gate = Gate(model, monkeypatch)
        calls = [asyncio.ensure_future(client.infer("net", x=ROW))]
        await gate.wait_for_run()
        calls += [asyncio.ensure_future(client.infer("net", x=ROW)) for _ in range(2)]
        await _until(lambda: model._batcher.queue_size == 2)
        code, details = await status_of(client.infer("net", x=ROW))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "max_queue_size" in details
        gate.open()
        assert len(await asyncio.gather(*calls)) == 3
        await client.infer("net", x=ROW)


async def test_cancelled_and_expired_calls_leave_the_queue(repository, serving, monkeypatch):
    repository.add("net", affine(), config=BATCHING.format(rows=1, options=""))
    async with serving(sessions=1) as (server, client):
        model = server.dataplane.model("net")
        gate = Gate(model, monkeypatch)
        running = asyncio.ensure_future(client.infer("net", x=ROW))
        await gate.wait_for_run()
        call = client.inference.ModelInfer(infer_request("net", x=ROW))
        await _until(lambda: model._batcher.queue_size == 1)
        call.cancel()
        await _until(lambda: model._batcher.queue_size == 0)
        code, _ = await status_of(client.infer("net", x=ROW, timeout=0.05))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        code, _ = await status_of(client.infer("net", x=ROW, timeout=-1))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        gate.open()
        assert (await running)["y"][0, 0] == 3.0
        assert (await client.infer("net", x=ROW))["y"][0, 0] == 3.0
        assert model.statistics.execution_count == 2


async def test_request_beyond_the_limit_is_refused_and_the_next_works(repository, serving):
    repository.add("wide", affine(width=300_000), config="max_batch_size: 2")
    async with serving(max_request_mib=1) as (_, client):
        code, _ = await status_of(client.infer("wide", x=np.zeros((1, 300_000), np.float32)))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await client.inference.ServerReady(pb.ServerReadyRequest())).ready


async def test_answers_larger_than_grpc_default_go_out(repository, serving):
    repository.add("wide", affine(width=1_500_000), config="max_batch_size: 1")
    async with (
        serving() as (_, client),
        grpc.aio.insecure_channel(
            client.address,
            options=[("grpc.max_receive_message_length", -1)],
        ) as channel,
    ):
        answer = await Client(channel, client.address).infer(
            "wide", x=np.zeros((1, 1_500_000), np.float32)
        )
    assert answer["y"].nbytes == 6_000_000


async def test_drain_answers_what_was_admitted_and_refuses_the_rest(
    repository, serving, monkeypatch
):
    repository.add("net", affine(), config=BATCHING.format(rows=1, options=""))
    async with serving(sessions=1) as (server, client):
        model = server.dataplane.model("net")
        gate = Gate(model, monkeypatch)
        calls = [asyncio.ensure_future(client.infer("net", x=ROW))]
        await gate.wait_for_run()
        calls += [asyncio.ensure_future(client.infer("net", x=ROW)) for _ in range(4)]
        await _until(lambda: model._batcher.queue_size == 4)
        draining = asyncio.ensure_future(server.drain())
        await _until(lambda: server.dataplane.is_draining)
        code, details = await status_of(client.infer("net", x=ROW))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "shutting down" in details
        assert (await client.inference.ServerLive(pb.ServerLiveRequest())).live
        assert not (await client.inference.ServerReady(pb.ServerReadyRequest())).ready
        assert not (await client.inference.ModelReady(pb.ModelReadyRequest(name="net"))).ready
        health = health_pb2_grpc.HealthStub(client.channel)
        for service in ("", "net"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        gate.open()
        assert [a["y"][0, 0] for a in await asyncio.gather(*calls)] == [3.0] * 5
        assert await draining


async def test_drain_gives_up_when_its_time_is_over(repository, serving, monkeypatch):
    repository.add("net", affine())
    async with serving(drain_seconds=0) as (server, client):
        gate = Gate(server.dataplane.model("net"), monkeypatch)
        call = asyncio.ensure_future(status_of(client.infer("net", x=ROW)))
        await gate.wait_for_run()
        assert not await server.drain()
        assert (await call)[0] in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        gate.open()


async def test_server_is_live_before_it_is_ready(repository):
    repository.add("net", affine())
    server = Server(ServerConfig(repository=repository.path, port=0))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            client = Client(channel, server.address)
            assert (await client.inference.ServerLive(pb.ServerLiveRequest())).live
            assert not (await client.inference.ServerReady(pb.ServerReadyRequest())).ready
            code, details = await status_of(client.infer("net", x=ROW))
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "starting" in details
            await server.load()
            assert (await client.inference.ServerReady(pb.ServerReadyRequest())).ready
            await client.infer("net", x=ROW)
    finally:
        await server.stop()


async def test_start_says_what_is_wrong(repository, serving):
    async with serving() as (server, _):
        taken = Server(ServerConfig(repository=repository.path, port=server.port))
        with pytest.raises(StartError, match=r"127\.0\.0\.1 port .*: the port is in use; end"):
            await taken.start()
        await taken.stop()
    # Of the block that RFC 5737 sets aside for documents: no machine has it.
    foreign = Server(ServerConfig(repository=repository.path, host="192.0.2.1", port=0))
    with pytest.raises(StartError, match=r"192\.0\.2\.1 port 0: the address is not this machine"):
        await foreign.start()
    await foreign.stop()
    nowhere = Server(ServerConfig(repository=repository.path / "no", port=0))
    with pytest.raises(StartError, match=r"model repository .*no cannot be read"):
        await nowhere.start()
    await nowhere.stop()


async def test_cuda_is_never_replaced_by_the_cpu(repository):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    server = Server(ServerConfig(repository=repository.path, port=0, device="cuda"))
    with pytest.raises(StartError, match=r"pip install 'eyespot\[serve-cuda\]'"):
        await server.start()
    await server.stop()


@asynccontextmanager
async def process(repository, *flags, environ=None):
    """`python -m eyespot.server`, serving; its log lines as JSON on standard error."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "eyespot.server",
        repository.path,
        *flags,
        "--log-format=json",
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environ or {})},
        limit=2**20,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def _serving_address(running):
    async for line in running.stderr:
        message = json.loads(line)["message"]
        if message.startswith("serving on "):
            return message.removeprefix("serving on ")
    raise AssertionError("the server ended before it served")


async def test_sigterm_under_load_answers_everything_admitted(repository):
    repository.add("net", laborious(256, 40), config=BATCHING.format(rows=2, options=""))
    rows = np.random.default_rng(1).standard_normal((16, 256), np.float32)
    answered = 0
    half = asyncio.Event()

    async def one_client(address, row):
        nonlocal answered
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            client = Client(channel, address)
            while True:
                request = infer_request("net", x=row[None])
                try:
                    response = await client.inference.ModelInfer(request, timeout=120)
                except grpc.aio.AioRpcError as error:
                    return error.code(), error.details()
                np.testing.assert_allclose(read_outputs(response)["y"][0], row, atol=1e-5)
                answered += 1
                if answered == 100:
                    half.set()

    async with process(repository, "--port=0", "--sessions=1") as running:
        address = await _serving_address(running)
        clients = [asyncio.ensure_future(one_client(address, row)) for row in rows]
        await half.wait()
        running.send_signal(signal.SIGTERM)
        endings = await asyncio.gather(*clients)
        log = [json.loads(line) async for line in running.stderr]
        assert await running.wait() == 0
    assert {code for code, _ in endings} == {grpc.StatusCode.UNAVAILABLE}, endings
    assert [entry for entry in log if entry["level"] in ("warning", "error")] == []


# Serves, and never gets done with what explains its models.
_LOADING_FOR_EVER = """
import sys, threading
from eyespot.server import version_swap
version_swap.load_explainer = lambda *arguments: threading.Event().wait()
sys.argv = ["eyespot.server", *sys.argv[1:]]
from eyespot.server.__main__ import main
sys.exit(main())
"""


def test_sigterm_does_not_wait_for_what_is_being_loaded(repository):
    repository.add("net")
    command = [sys.executable, "-c", _LOADING_FOR_EVER, repository.path, "--port=0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            while "model 'net' version 1 is ready" not in running.stderr.readline():
                pass
            running.send_signal(signal.SIGTERM)
            _, told = running.communicate(timeout=60)
        finally:
            running.kill()
    assert (running.returncode, "Traceback" in told) == (0, False)
    assert told.splitlines()[-1].endswith("INFO stopped")


async def test_port_file_and_port_of_the_log_agree(repository, tmp_path):
    port_file = tmp_path / "port"
    async with process(repository, "--port=0", f"--port-file={port_file}") as running:
        address = await _serving_address(running)
        assert address == f"127.0.0.1:{int(port_file.read_text())}"
        running.send_signal(signal.SIGINT)
        assert await running.wait() == 0


async def test_killed_server_comes_back_on_its_port(repository):
    repository.add("net", affine())
    async with process(repository, "--port=0") as running:
        address = await _serving_address(running)
        options = [
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
        ]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            client = Client(channel, address)
            await client.infer("net", x=ROW)
            running.kill()
            await running.wait()
            port = address.rpartition(":")[2]
            async with process(repository, f"--port={port}") as again:
                assert await _serving_address(again) == address
                request = infer_request("net", x=ROW)
                response = await client.inference.ModelInfer(
                    request, timeout=60, wait_for_ready=True
                )
                assert read_outputs(response)["y"][0, 0] == 3.0


async def test_a_full_disk_for_the_port_file_is_told_and_the_server_serves(
    repository, tmp_path, caplog
):
    repository.add("net", affine())
    port_file = tmp_path / "port"
    server = Server(ServerConfig(repository=repository.path, port=0, port_file=port_file))
    await server.start()
    try:
        with files_of_at_most(0):
            await server.load()
        assert server.dataplane.is_model_ready("net")
    finally:
        await server.stop()
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
    assert f"the port file {port_file} cannot be written: File too large" in caplog.text


@pytest.mark.parametrize("also", [[], ["--supervised"]])
def test_strict_ends_with_the_reasons(repository, tmp_path, also):
    (repository.add("broken") / "model.onnx").write_bytes(b"no graph")
    words = [repository.path, "--port=0", "--strict", f"--port-file={tmp_path / 'port'}", *also]
    ended = subprocess.run(
        [sys.executable, "-m", "eyespot.server", *words], capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "model 'broken' version 1 is unavailable: model.onnx" in ended.stderr
    assert "ERROR --strict: ending because of the unavailable models above" in ended.stderr
    assert "serving on" not in ended.stderr
    assert not (tmp_path / "port").exists()


def test_a_port_in_use_and_strange_variables_are_told_in_our_words_alone(repository):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "eyespot.server", repository.path, f"--port={port}"],
            env={**os.environ, "EYESPOT_PROT": "1"},
            capture_output=True,
            text=True,
        )
    assert ended.returncode == 1
    warning, reason = ended.stderr.splitlines()
    assert warning.endswith("that are no settings are ignored: EYESPOT_PROT")
    assert f"cannot listen on 127.0.0.1 port {port}: the port is in use" in reason


def test_wrong_settings_are_usage_errors(repository):
    ended = subprocess.run(
        [sys.executable, "-m", "eyespot.server", repository.path],
        env={**os.environ, "EYESPOT_PORT": "many"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert "EYESPOT_PORT must be a number (int), not 'many'" in ended.stderr


def test_import_loads_nothing_that_is_wanted_later_if_at_all():
    code = (
        "import sys, eyespot.server.app; "
        "print(sorted({'torch', 'onnxruntime', 'opentelemetry'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
