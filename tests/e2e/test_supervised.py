"""One supervised server, and what befalls it: killed under load, out of files, told to reload."""

import asyncio
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnx import helper
from tests.client.fake import connecting
from tests.server.tiny import BATCHING, FLOAT, Repository, affine, graph

from eyespot.client import AsyncClient, Client, NotFoundError
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.services import InferenceStub

ROW = np.float32([[1, 2, 3, 4]])
SIDE = 20  # of pictures in pixels, which are hidden one after another: 400 steps
WEIGHTS = np.random.default_rng(5).standard_normal((SIDE * SIDE, 2), np.float32)
# However slow the machine is that starts the server anew.
PATIENT = {"timeout": 600.0, "retries": 1000}
SETTINGS = """
port = 0
supervised = true
model_control_mode = "poll"
repository_poll_seconds = 100_000
"""


def linear():
    """y = pixels times WEIGHTS: hide a pixel, and the score falls by its product."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["pixels"]),
        helper.make_node("MatMul", ["pixels", "w"], ["y"]),
    ]
    shape = ["batch", 1, SIDE, SIDE]
    outputs = {"y": (FLOAT, ["batch", 2])}
    return graph(nodes, {"x": (FLOAT, shape)}, outputs, {"w": WEIGHTS})


class Supervised:
    """The supervisor, its server, and the lines of both."""

    def __init__(self, folder, fill, settings=SETTINGS, *, program=("-m", "eyespot.cli")):
        self.repository = Repository(folder / "repository")
        self.repository.path.mkdir()
        fill(self.repository)
        self.model = self.repository.path / "net" / "1"
        self._lasting = settings
        self.settings = folder / "eyespot.toml"
        self.port_file = folder / "port"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.metrics_port = probe.getsockname()[1]
        self.set("")
        words = ["serve", self.repository.path, "--config", self.settings]
        self.process = subprocess.Popen(
            [sys.executable, *program, *words, "--port-file", self.port_file],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.told = self.wait_for("serving on")
        self.address = f"127.0.0.1:{int(self.port_file.read_text())}"

    def set(self, text):
        self.settings.write_text(f"{self._lasting}metrics_port = {self.metrics_port}\n{text}")

    def wait_for(self, text):
        """Reads lines until one has the text, and gives all of them."""
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if text in line:
                return "".join(lines)
        raise AssertionError(f"the server has ended, and told no {text!r}: {lines}")

    def reload(self):
        self.process.send_signal(signal.SIGHUP)
        return self.wait_for("INFO reloaded")

    @property
    def server(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text())

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


def seen_and_counted(repository):
    repository.add("net", affine(), config=BATCHING.format(rows=8, options=""))
    repository.add("scene", linear(), config="max_batch_size: 1\n")


@pytest.fixture(scope="module")
def supervised(tmp_path_factory):
    running = Supervised(tmp_path_factory.mktemp("supervised"), seen_and_counted)
    try:
        yield running
    finally:
        running.end()


class Load:
    """Clients of both kinds that ask and check, until they are told to stop."""

    def __init__(self, address):
        self._address = address
        self._asked = 0
        self._stop = threading.Event()
        self._lock = threading.Condition()
        self.answered = 0
        self.errors = []

    def run(self):
        kinds = [self._block, self._block, lambda: asyncio.run(self._await())]
        self._threads = [threading.Thread(target=self._guard, args=(kind,)) for kind in kinds]
        for thread in self._threads:
            thread.start()

    def wait_for(self, count):
        """Until so many more were answered."""
        with self._lock:
            goal = self.answered + count
            self._lock.wait_for(lambda: self.answered >= goal or self.errors)

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert self.errors == []
        assert self.answered == self._asked

    def _guard(self, ask):
        try:
            ask()
        except BaseException as error:
            with self._lock:
                self.errors.append(error)
                self._lock.notify_all()

    def _next(self):
        with self._lock:
            self._asked += 1
            return np.full((1, 4), self._asked, np.float32)

    def _check(self, row, result):
        assert result.outputs["y"].tolist() == (2 * row + 1).tolist()
        with self._lock:
            self.answered += 1
            self._lock.notify_all()

    def _block(self):
        with Client(self._address, **PATIENT) as client:
            while not self._stop.is_set():
                row = self._next()
                self._check(row, client.infer("net", row))

    async def _await(self):
        async with AsyncClient(self._address, **PATIENT) as client:

            async def ask():
                while not self._stop.is_set():
                    row = self._next()
                    self._check(row, await client.infer("net", row))

            await asyncio.gather(ask(), ask())


def test_clients_lose_nothing_when_the_server_is_killed(supervised):
    load = Load(supervised.address)
    load.run()
    load.wait_for(50)
    killed = supervised.server
    os.kill(killed, signal.SIGKILL)
    load.wait_for(50)
    load.stop()
    told = supervised.wait_for(f"serving on {supervised.address}")
    assert f"(process {killed}) was killed by SIGKILL" in told
    assert supervised.server != killed
    url = f"http://127.0.0.1:{supervised.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=600) as metrics:
        assert b"\neyespot_server_restarts 1.0\n" in metrics.read()


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_explanations_are_taken_up_when_the_server_is_killed_amid_them(supervised, kind):
    pictures = np.random.default_rng(6).standard_normal((3, 1, SIDE, SIDE), np.float32)
    hiding = {"window": 1, "stride": 1}
    known, killed = [], None
    with connecting(kind, supervised.address, **PATIENT) as client:
        for told in client.explain_stream(
            "scene", pictures, method="occlusion", target=1, parameters=hiding
        ):
            known.append(told)
            if len(told.explanations) == 2 and killed is None:
                killed = supervised.server
                os.kill(killed, signal.SIGKILL)
        assert f"(process {killed}) was killed by SIGKILL" in supervised.wait_for("serving on")
        [counted] = client.statistics("scene")
    # By the new server: the second picture, from the beginning, and the third.
    assert (counted.explain_success.count, counted.explain_fail.count) == (2, 0)
    progress = [each.progress for each in known]
    assert progress == sorted(set(progress))
    assert progress[-1] == 1
    # One by one and in order, and what was final stays as it was.
    found = known[-1].explanations
    for number, picture in enumerate(pictures):
        expected = picture[0] * WEIGHTS[:, 1].reshape(SIDE, SIDE)
        first = next(each for each in known if each.progress >= (number + 1) / 3)
        for explained in (found[number], first.explanations[number]):
            np.testing.assert_allclose(explained.attributions, expected, atol=1e-4)


def test_without_file_descriptors_the_connected_are_served_and_others_when_some_leave(supervised):
    server = supervised.server
    host, port = supervised.address.split(":")
    before = resource.prlimit(server, resource.RLIMIT_NOFILE)
    with Client(supervised.address, **PATIENT) as client:
        client.infer("net", ROW)
        taken = len(list(Path(f"/proc/{server}/fd").iterdir()))
        resource.prlimit(server, resource.RLIMIT_NOFILE, (taken + 2, before[1]))
        connections = [socket.create_connection((host, int(port)), 600) for _ in range(6)]
        try:
            supervised.wait_for("File descriptor limit reached")
            assert client.infer("net", ROW).outputs["y"].tolist() == [[3, 5, 7, 9]]
            *_, last = connections
            last.setblocking(False)
            with pytest.raises(BlockingIOError):
                last.recv(1)  # nobody greets it
            for each in connections[:-1]:
                each.close()
            last.settimeout(600)
            assert last.recv(1)
        finally:
            for each in connections:
                each.close()
            resource.prlimit(server, resource.RLIMIT_NOFILE, before)


def test_a_hang_up_takes_what_is_new_and_tells_what_it_cannot_use(supervised):
    graph = (supervised.model / "model.onnx").read_bytes()
    with Client(supervised.address, **PATIENT) as client:

        def answer():
            return client.infer("net", ROW).outputs["y"].tolist()

        supervised.settings.write_text("port = many")
        (supervised.model / "model.onnx").write_bytes(graph[:40])
        told = supervised.reload()
        assert "ERROR settings stay as they were: the configuration file" in told
        assert "ERROR failed to load 'net'" in told
        assert answer() == [[3, 5, 7, 9]]
        net, _ = client.repository_index()
        assert net.is_ready
        assert net.reason.startswith("served as it was loaded; failed to load 'net', model.onnx")

        moved = supervised.repository.path.rename(supervised.settings.with_name("away"))
        assert "ERROR models stay as they were: the model repository" in supervised.reload()
        assert answer() == [[3, 5, 7, 9]]
        moved.rename(supervised.repository.path)

        supervised.set('sessions = 1\nlog_format = "json"')
        (supervised.model / "model.onnx").write_bytes(affine(offset=5).SerializeToString())
        supervised.process.send_signal(signal.SIGHUP)
        told = supervised.wait_for('"message": "reloaded"')
        assert "that hold from now on: log_format" in told
        assert "that need a restart: sessions" in told
        assert "models that had changed: net" in told
        assert answer() == [[7, 9, 11, 13]]
        net, _ = client.repository_index()
        assert (net.is_ready, net.reason) == (True, "")


def test_it_ends_with_its_supervisor_and_at_once_when_it_is_interrupted(supervised):
    server = os.pidfd_open(supervised.server)
    with grpc.insecure_channel(supervised.address) as channel:
        # A call that does not end of itself, so that the drain takes a while.
        health = health_pb2_grpc.HealthStub(channel)
        next(health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True))
        supervised.process.kill()
        supervised.wait_for("shutting down")
        signal.pidfd_send_signal(server, signal.SIGINT)
        supervised.wait_for("interrupted again")
    ended = select.poll()
    ended.register(server, select.POLLIN)
    assert ended.poll(600_000)
    os.close(server)


EXPLICIT = """
port = 0
supervised = true
strict = true
model_control_mode = "explicit"
load_model = "named"
load_files = true
"""


def called_and_named(repository):
    for name in ("net", "named", "broken", "brought"):
        repository.add(name, affine())


@pytest.fixture
def explicit(tmp_path):
    running = Supervised(tmp_path, called_and_named, EXPLICIT)
    try:
        yield running
    finally:
        running.end()


def test_what_calls_have_loaded_and_unloaded_stays_so_when_the_server_is_killed(explicit):
    with grpc.insecure_channel(explicit.address) as channel, Client(explicit.address) as client:
        inference = InferenceStub(channel)

        def load(name, config="", graph=None):
            request = pb.RepositoryModelLoadRequest(model_name=name)
            if config:
                request.parameters["config"].string_param = config
            if graph is not None:
                request.parameters["file:1/model.onnx"].bytes_param = graph
            inference.RepositoryModelLoad(request)

        with pytest.raises(NotFoundError, match="has it, but it is not loaded: a load call"):
            client.infer("net", ROW)
        load("net", '{"max_batch_size": 5}')
        load("broken")
        load("brought", "{}", graph=affine(offset=5).SerializeToString())
        inference.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="named"))
        (explicit.repository.path / "broken" / "1" / "model.onnx").write_bytes(b"no graph")
    os.kill(explicit.server, signal.SIGKILL)
    told = explicit.wait_for("serving on")
    assert "WARNING model 'brought' is loaded as the repository has it" in told
    with Client(explicit.address) as client:
        for name in ("net", "brought"):
            assert client.infer(name, ROW).outputs["y"].tolist() == [[3, 5, 7, 9]]
        assert client.model_config("net").max_batch_size == 5
        index = {each.name: each for each in client.repository_index()}
        assert index["broken"].reason.startswith("model.onnx")
        assert index["named"].state == ""


# The command, in which the load of one model ends as no Python can catch.
CRASHING = """
import signal, sys
from eyespot.server import version_loading

check = version_loading.check_files

def check_or_crash(folder, **options):
    if folder.model_name == "deadly" and (folder.folder / "model.onnx").stat().st_size > 0:
        signal.raise_signal(signal.SIGSEGV)  # in this thread, so at once
    return check(folder, **options)

version_loading.check_files = check_or_crash
from eyespot.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_model_that_kills_the_server_twice_is_left_out_until_its_files_change(tmp_path):
    def fill(repository):
        repository.add("deadly", affine())
        repository.add("net", affine())

    running = Supervised(tmp_path, fill, program=("-c", CRASHING))
    try:
        reason = "its load ended the server process twice; it is tried again when its files change"
        with Client(running.address, **PATIENT) as client:
            assert client.infer("net", ROW).outputs["y"].tolist() == [[3, 5, 7, 9]]
            deadly, _ = client.repository_index()
            assert deadly.reason.startswith(reason)
            (running.repository.path / "deadly" / "1" / "model.onnx").write_bytes(b"")
            assert "failed to load 'deadly', model.onnx" in running.reload()
    finally:
        running.end()
    assert running.told.count("was killed by SIGSEGV: it is started again") == 2
    assert f"ERROR model 'deadly' version 1 is unavailable: {reason}" in running.told
