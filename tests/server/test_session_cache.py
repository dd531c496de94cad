"""Optimised graphs on the disk: made once, and never trusted blindly."""

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from tests.server.tiny import FLOAT, graph

from eyespot.server import session_cache
from eyespot.server.config import ServerConfig
from eyespot.server.repository import scan
from eyespot.server.session import Session, SessionSettings
from eyespot.server.session_cache import cache_folder, open_cached
from eyespot.server.version_loading import load_version

ROW = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4)


@pytest.fixture(autouse=True)
def _small_graphs_too(monkeypatch):
    monkeypatch.setattr(session_cache, "_LEAST_BYTES", 1)


@pytest.fixture
def model(tmp_path):
    """A convolution and a rectifier, which the runtime fuses."""
    weights = np.random.default_rng(0).standard_normal((8, 4, 3, 3)).astype(np.float32)
    made = graph(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])],
        {"x": (FLOAT, ["batch", 4, 4, 4])},
        {"y": (FLOAT, ["batch", 8, 2, 2])},
        {"w": weights},
    )
    path = tmp_path / "model.onnx"
    onnx.save(made, path)
    return path


def open_it(model, folder, **settings):
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    return open_cached(model, SessionSettings(**settings), sha256=sha256, folder=folder)


def answer(session):
    return session.run({"x": ROW}, ["y"])["y"]


def files_of(folder):
    return sorted(folder.iterdir())


@pytest.fixture
def opened(monkeypatch):
    """What each session was opened with."""
    seen = []
    open_session = Session.open.__func__

    def note(cls, path, settings=None, **options):
        seen.append(((settings or SessionSettings()).optimization, sorted(options)))
        return open_session(cls, path, settings, **options)

    monkeypatch.setattr(Session, "open", classmethod(note))
    return seen


def test_the_second_start_finds_what_the_first_has_made(model, tmp_path, opened):
    folder = tmp_path / "deep" / "cache"
    first, second = open_it(model, folder), open_it(model, folder)
    assert opened == [("all", ["optimised"]), ("all", ["cached"])]
    levels = [
        each._session.get_session_options().graph_optimization_level for each in (first, second)
    ]
    assert [level.name for level in levels] == ["ORT_ENABLE_ALL", "ORT_DISABLE_ALL"]
    np.testing.assert_array_equal(answer(first), answer(second))
    np.testing.assert_array_equal(answer(second), answer(Session.open(model)))
    (kept,) = files_of(folder)
    assert [node.op_type for node in onnx.load(kept).graph.node] != ["Conv", "Relu"]
    assert folder.stat().st_mode & 0o077 == 0


def test_what_was_changed_is_made_anew(model, tmp_path, opened, caplog):
    folder = tmp_path / "cache"
    open_it(model, folder)
    (kept,) = files_of(folder)
    whole = kept.read_bytes()
    for changed in (b"", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"no graph"):
        kept.write_bytes(changed)
        np.testing.assert_array_equal(answer(open_it(model, folder)), answer(Session.open(model)))
        assert [each.read_bytes() for each in files_of(folder)] == [whole]
    assert caplog.text.count("is not what was written") == 4
    assert ("all", ["cached"]) not in opened


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_that_others_may_write_to_is_not_used(model, tmp_path, opened, mode):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    open_it(model, folder)
    assert files_of(folder) == []
    assert opened == [("all", [])]


def test_a_folder_of_somebody_else_is_not_used(model, tmp_path, opened, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    open_it(model, tmp_path / "cache")
    assert files_of(tmp_path / "cache") == []


@pytest.mark.parametrize("folder", ["/proc/none/cache", "/dev/null"])
def test_a_folder_that_cannot_be_written_is_done_without(model, folder, opened):
    np.testing.assert_array_equal(answer(open_it(model, Path(folder))), answer(Session.open(model)))


def test_a_full_disk_is_done_without(model, tmp_path, opened, monkeypatch):
    folder = tmp_path / "cache"
    usage = os.statvfs(tmp_path)
    monkeypatch.setattr(
        session_cache.shutil,
        "disk_usage",
        lambda _: type("Usage", (), {"free": usage.f_frsize * 0}),
    )
    open_it(model, folder)
    assert opened == [("all", [])]
    assert files_of(folder) == []


def test_a_disk_that_fills_while_it_is_written_costs_no_model(model, tmp_path, monkeypatch):
    folder = tmp_path / "cache"

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", fail)
    np.testing.assert_array_equal(answer(open_it(model, folder)), answer(Session.open(model)))
    assert files_of(folder) == []


def test_each_thing_that_it_depends_on_has_a_file_of_its_own(model, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    open_it(model, folder)
    open_it(model, folder, optimization="basic")
    monkeypatch.setattr(session_cache, "_processor", lambda: "another one")
    open_it(model, folder)
    monkeypatch.setattr(session_cache, "runtime_version", lambda: "0.1")
    open_it(model, folder)
    assert len(files_of(folder)) == 4


def test_what_was_not_used_for_longest_goes_first(model, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(session_cache, "_MOST_FILES", 2)
    names = []
    for number in range(3):
        monkeypatch.setattr(session_cache, "runtime_version", lambda n=number: str(n))
        open_it(model, folder)
        names += [file.name for file in files_of(folder) if file.name not in names]
        os.utime(folder / names[-1], (number, number))
    assert {file.name for file in files_of(folder)} == set(names[1:])


def test_what_is_small_or_not_known_by_hash_is_not_kept(model, tmp_path, monkeypatch, opened):
    folder = tmp_path / "cache"
    open_cached(model, SessionSettings(), sha256=None, folder=folder)
    open_it(model, folder, optimization="none")
    monkeypatch.setattr(session_cache, "_LEAST_BYTES", 1 << 20)
    open_it(model, folder)
    assert not folder.exists()


def test_a_graph_that_cannot_be_loaded_says_so(tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"torn")
    with pytest.raises(session_cache.RepositoryError, match=r"model\.onnx cannot be loaded"):
        open_it(broken, tmp_path / "cache")
    assert files_of(tmp_path / "cache") == []


def test_where_the_setting_points(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("off") is None
    assert cache_folder("auto") == tmp_path / "eyespot" / "models"
    assert cache_folder("/srv/kept") == Path("/srv/kept")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_folder("auto") == tmp_path / "home" / ".cache" / "eyespot" / "models"


def test_low_memory_keeps_nothing_and_copies_nothing(repository, monkeypatch):
    repository.add("net")
    seen = []
    open_session = Session.open.__func__

    def note(cls, path, settings=None, **options):
        seen.append(settings)
        return open_session(cls, path, settings, **options)

    monkeypatch.setattr(Session, "open", classmethod(note))
    (folder,) = scan(repository.path)
    load_version(folder, ServerConfig(repository=repository.path, low_memory=True))
    load_version(folder, ServerConfig(repository=repository.path))
    low, usual = seen
    assert (low.enable_cpu_mem_arena, low.enable_mem_pattern) == (False, False)
    assert not low.enable_prepacking
    assert usual.enable_cpu_mem_arena
    assert usual.enable_mem_pattern
    assert usual.enable_prepacking
