"""Hashes that a start begins at once: of what, and whether they are of the files as they are."""

import hashlib
import threading

import pytest
from tests.server.test_repository import write_manifest_of

from eyespot.server import early_hashes
from eyespot.server.config import ServerConfig
from eyespot.server.early_hashes import EarlyHashes
from eyespot.server.first_loads import begin_first_loads
from eyespot.server.loading_threads import LoadingThreads
from eyespot.v1.sha256 import sha256_of

# FIPS 180-4, the examples of one block and of none.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def hashed(monkeypatch):
    """What was hashed, and whether in another thread."""
    seen = []

    def noted(path):
        is_other = threading.current_thread() is not threading.main_thread()
        seen.append((path.parent.parent.name, path.parent.name, is_other))
        return sha256_of(path)

    monkeypatch.setattr(early_hashes, "sha256_of", noted)
    return seen


def _write(repository, *versions):
    paths = []
    for version in versions:
        path = repository.path / version / "model.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"abc")
        paths.append(path)
    return paths


def _begin(repository, **settings):
    threads = LoadingThreads()
    hashes = EarlyHashes(ServerConfig(repository=repository.path, **settings), threads)
    threads._executor.shutdown()
    return hashes


def test_the_newest_graph_of_each_model_is_hashed_ahead_and_once(repository, hashed):
    old, new, other, no_version = _write(repository, "b/9", "b/10", "a/1", "a/draft")
    hashes = _begin(repository)
    assert sorted(hashed) == [("a", "1", True), ("b", "10", True)]
    assert [hashes.of(path) for path in (new, other)] == [ABC, ABC]
    assert len(hashed) == 2
    assert [hashes.of(path) for path in (old, no_version)] == [ABC, ABC]
    assert hashed[2:] == [("b", "9", False), ("a", "draft", False)]


def test_a_file_that_changed_since_is_hashed_anew(repository):
    (path,) = _write(repository, "a/1")
    hashes = _begin(repository)
    path.write_bytes(b"")
    assert hashes.of(path) == EMPTY


def test_a_file_that_is_gone_is_an_error_of_who_loads_it(repository, hashed):
    (path,) = _write(repository, "a/1")
    (repository.path / "b" / "1").mkdir(parents=True)
    (repository.path / "b" / "1" / "model.onnx").symlink_to("nowhere")
    hashes = _begin(repository)
    assert hashed == [("a", "1", True)]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        hashes.of(path)


def test_where_calls_say_what_is_loaded_nothing_is_hashed(repository, hashed):
    _write(repository, "a/1")
    _begin(repository, model_control_mode="explicit")
    assert hashed == []


def test_more_than_memory_would_keep_is_not_read_twice(repository, hashed, monkeypatch):
    monkeypatch.setattr(early_hashes, "_MOST_BYTES", 8)
    _write(repository, "a/1", "b/1", "c/1")
    _begin(repository)
    assert sorted(name for name, _, _ in hashed) == ["a", "b"]


def test_a_first_load_asks_for_the_hash_that_was_begun(repository):
    folder = repository.add("doubling", config="max_batch_size: 2")
    write_manifest_of(folder, **{"model.onnx": hashlib.sha256(b"").hexdigest()})
    asked = []

    def hash_of(path):
        asked.append(path)
        return hashlib.sha256(b"").hexdigest()

    settings = ServerConfig(repository=repository.path, explain="off")
    first = begin_first_loads(settings, LoadingThreads(), hash_of=hash_of)
    loaded = first.begun["doubling", "1"].result()
    assert loaded.manifest is not None
    assert asked == [folder / "model.onnx"]
