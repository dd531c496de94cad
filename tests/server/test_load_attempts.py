"""What kills the server each time that it is loaded, as the next servers know of it."""

import os
import threading
from contextlib import asynccontextmanager
from functools import partial

import grpc
import numpy as np
import pytest
from tests.full_disk import files_of_at_most
from tests.server.tiny import Client

from eyespot.server.app import Server
from eyespot.server.config import ServerConfig
from eyespot.server.first_loads import begin_first_loads
from eyespot.server.load_attempts import LoadAttempts
from eyespot.server.loading_threads import LoadingThreads
from eyespot.server.notes import Notes
from eyespot.server.repository import BrokenModel, scan
from eyespot.v1 import explain_pb2
from eyespot.v1 import inference_pb2 as pb


@pytest.fixture
def folder(repository):
    repository.add("net")
    [found] = scan(repository.path)
    return found


def after_a_kill(notes, attempts, *folders, **part):
    """The attempts as the next server knows them, where one dies while it loads these."""
    left = []

    def die():
        left.append(os.pread(notes, 10_000, 0))

    for folder in folders:
        die = partial(attempts.run, folder, die, **part)
    die()
    os.pwrite(notes, left[0], 0)  # and nothing after it
    return LoadAttempts(Notes(notes, was_killed=True))


def begun(notes):
    return LoadAttempts(Notes(notes))


def test_what_has_killed_the_server_twice_is_left_alone_and_says_why(notes, folder):
    once = after_a_kill(notes, begun(notes), folder)
    assert once.admit(folder) is folder
    twice = after_a_kill(notes, once, folder)
    broken = twice.admit(folder)
    assert isinstance(broken, BrokenModel)
    assert broken[:2] == ("net", "1")
    assert broken.reason.startswith("its load ended the server process twice; it is tried again")
    # However the next servers end, it stays so.
    assert LoadAttempts(Notes(notes, was_killed=True)).admit(folder) == broken


def test_a_load_that_comes_to_its_end_starts_the_count_anew(notes, folder):
    once = after_a_kill(notes, begun(notes), folder)
    with pytest.raises(ValueError, match="no graph"):
        once.run(folder, lambda: (_ for _ in ()).throw(ValueError("no graph")))
    assert after_a_kill(notes, begun(notes), folder).admit(folder) is folder


def test_a_server_that_ends_of_itself_is_no_matter_of_what_it_loads(notes, folder):
    attempts = begun(notes)
    for _ in range(3):
        after_a_kill(notes, attempts, folder)
        attempts = begun(notes)
    assert attempts.admit(folder) is folder


def killed_twice(notes, folder, **part):
    return after_a_kill(notes, after_a_kill(notes, begun(notes), folder, **part), folder, **part)


@pytest.mark.parametrize("file", ["1/model.onnx", "config.pbtxt"])
def test_other_files_are_tried(notes, folder, repository, file):
    attempts = killed_twice(notes, folder)
    (repository.path / "net" / file).write_text("max_batch_size: 3")
    [changed] = scan(repository.path)
    assert attempts.admit(changed) is changed
    assert isinstance(attempts.admit(folder._replace(model_version="2")), type(folder))


def test_who_asks_for_a_model_gets_it_tried(notes, folder):
    attempts = killed_twice(notes, folder)
    attempts.forgive("ne")
    assert attempts.admit(folder) is not folder
    attempts.forgive("net")
    assert attempts.admit(folder) is folder
    assert after_a_kill(notes, attempts, folder).admit(folder) is folder


def test_what_explains_a_version_is_counted_apart(notes, folder):
    attempts = killed_twice(notes, folder, part="explainer")
    assert attempts.admit(folder) is folder
    assert attempts.reason_against(folder, "explainer").startswith("to load what explains it ended")


def test_of_several_suspects_one_is_loaded_at_a_time(notes, folder):
    """So that the second death convicts the one that it was."""
    other, fresh = (folder._replace(model_version=version) for version in "23")
    attempts = after_a_kill(notes, begun(notes), folder, other)
    began = threading.Event()
    meanwhile = threading.Thread(target=attempts.run, args=(other, began.set))

    def load():
        meanwhile.start()
        assert not began.wait(0.02)
        return attempts.run(fresh, lambda: "loaded")

    assert attempts.run(folder, load) == "loaded"
    meanwhile.join()
    assert began.is_set()


def test_a_full_disk_fails_no_load_and_is_told(notes, folder, caplog):
    with files_of_at_most(10):
        assert begun(notes).run(folder, lambda: "loaded") == "loaded"
    assert "should the load of net/1/model kill this server" in caplog.text


@asynccontextmanager
async def serving_after(attempts, repository):
    """A client of a server that knows of these attempts."""
    settings = ServerConfig(
        repository=repository.path, port=0, model_control_mode="explicit", load_model="*"
    )
    first = begin_first_loads(settings, LoadingThreads(), attempts=attempts)
    server = Server(settings, first=first)
    await server.start()
    try:
        await server.load()
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield Client(channel, server.address)
    finally:
        await server.stop()


async def test_a_load_call_has_it_tried_again(notes, folder, repository, caplog):
    repository.add("other")
    index = pb.RepositoryIndexRequest()
    async with serving_after(killed_twice(notes, folder), repository) as client:
        net, other = (await client.inference.RepositoryIndex(index)).models
        assert (net.state, other.state) == ("UNAVAILABLE", "READY")
        assert net.reason.startswith("its load ended the server process twice")
        await client.inference.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="net"))
        net, _ = (await client.inference.RepositoryIndex(index)).models
        assert (net.state, net.reason) == ("READY", "")
    assert "model 'net' version 1 is unavailable: its load ended" in caplog.text


async def test_what_cannot_be_explained_so_is_served(notes, folder, repository, caplog):
    attempts = killed_twice(notes, folder, part="explainer")
    async with serving_after(attempts, repository) as client:
        answer = await client.infer("net", x=np.ones((1, 4), np.float32))
        assert answer["y"].tolist() == [[3, 3, 3, 3]]
        asked = explain_pb2.ListMethodsRequest(model_name="net")
        methods = (await client.explain.ListMethods(asked)).methods
        reason = "model 'net' version 1: to load what explains it ended the server process twice"
        assert {method.reason[: len(reason)] for method in methods} == {reason}
    assert "version 1 cannot be explained: to load what explains it ended" in caplog.text


def test_without_a_supervisor_nothing_is_noted(folder):
    attempts = LoadAttempts()
    for _ in range(3):
        attempts = attempts.run(folder, lambda: LoadAttempts(Notes(was_killed=True)))
    assert attempts.admit(folder) is folder
