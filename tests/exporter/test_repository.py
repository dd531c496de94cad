"""Versions that appear whole or not at all."""

import os
import signal
import subprocess
import sys

import pytest
from tests.full_disk import files_of_at_most

from eyespot.exporter.errors import RepositoryError
from eyespot.exporter.model_config import build_config, default_batch_size, read_config
from eyespot.exporter.repository import (
    check_name,
    list_models,
    plan_version,
    remove_leftovers,
    written_version,
)
from eyespot.v1.manifest import TensorSpec
from eyespot.v1.repository_folders import list_versions


def config_of(*, size=32, classes=10, max_batch_size=8, labelled=None, parameters=None):
    return build_config(
        "net",
        inputs=[TensorSpec("image", "UINT8", ("batch", size, size, 3))],
        outputs=[TensorSpec("logits", "FP32", ("batch", classes))],
        max_batch_size=max_batch_size,
        image_format="FORMAT_NHWC",
        labelled_output=labelled,
        parameters=parameters,
    )


def write(repository, content="new", *, labels=None, replace=False, asked=None, **config):
    """Write a version whose model is a few letters."""
    config = config_of(
        labelled="logits" if labels else None,
        **({"max_batch_size": asked} if asked else {}),
        **config,
    )
    plan = plan_version(repository, config, labels=labels, max_batch_size=asked, replace=replace)
    with written_version(repository, plan) as draft:
        (draft.folder / "model.onnx").write_text(content)
    return plan.model_version


def read(repository, version="1"):
    return (repository / "net" / version / "model.onnx").read_text()


def test_a_second_export_is_the_next_version(tmp_path, walk):
    assert write(tmp_path / "repository", "one") == "1"
    assert write(tmp_path / "repository", "two") == "2"
    assert walk(tmp_path / "repository") == [
        "net",
        "net/1",
        "net/1/model.onnx",
        "net/2",
        "net/2/model.onnx",
        "net/config.pbtxt",
    ]
    assert (read(tmp_path / "repository"), read(tmp_path / "repository", "2")) == ("one", "two")


def test_versions_are_numbers_not_texts(tmp_path):
    for version in ("2", "10", "9", "notes", "0x3"):
        (tmp_path / "net" / version).mkdir(parents=True)
    assert list_versions(tmp_path / "net") == ["2", "9", "10"]
    assert write(tmp_path) == "11"


def test_the_latest_version_is_replaced_and_no_other(tmp_path):
    write(tmp_path, "one")
    write(tmp_path, "two")
    assert write(tmp_path, "three", replace=True) == "2"
    assert (read(tmp_path), read(tmp_path, "2")) == ("one", "three")
    assert list_versions(tmp_path / "net") == ["1", "2"]


def test_a_replacement_does_not_redescribe_older_versions(tmp_path, walk):
    write(tmp_path, "one", labels=["a", "b"])
    write(tmp_path, "two", labels=["a", "b"])
    before = walk(tmp_path)
    for other in ({"labels": ["k", "l"]}, {"parameters": {"preprocessing.mean": "[0.5]"}}):
        with pytest.raises(RepositoryError, match="its versions 1 would be described as this one"):
            write(tmp_path, "three", replace=True, **other)
    assert walk(tmp_path) == before
    assert (tmp_path / "net" / "labels.txt").read_text().split() == ["a", "b"]


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("", "version 3 is beside 1 and 2: a server serves the latest; to go back to 2, remove {}"),
        (
            "version_policy { latest { num_versions: 2 } }",
            "version 3 is beside 1 and 2: a server serves the latest 2; to go back to 2, remove {}",
        ),
        (
            "version_policy { all {} }",
            "version 3 is beside 1 and 2: a server serves them all, and the latest to whoever "
            "names none; to go back to 2, remove {}",
        ),
        (
            "version_policy { specific { versions: [1, 2] } }",
            "version 3 is beside 1 and 2: a server serves 1 and 2, as config.pbtxt says",
        ),
    ],
)
def test_a_version_says_which_are_beside_it_and_which_is_served(tmp_path, policy, told):
    plan = plan_version(tmp_path, config_of(), labels=None, max_batch_size=None, replace=False)
    assert plan.standing(tmp_path) == ()
    write(tmp_path, "one")
    write(tmp_path, "two")
    config = tmp_path / "net" / "config.pbtxt"
    config.write_text(config.read_text() + policy)
    plan = plan_version(tmp_path, config_of(), labels=None, max_batch_size=None, replace=False)
    assert plan.standing(tmp_path) == (told.format(tmp_path / "net" / "3"),)


def test_a_version_says_that_it_took_the_place_of_another(tmp_path):
    write(tmp_path, "one")
    plan = plan_version(tmp_path, config_of(), labels=None, max_batch_size=None, replace=True)
    assert plan.standing(tmp_path) == ("version 1 took the place of the one that was there",)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"size": 64}, "dims: 64"),
        ({"classes": 11}, "dims: 11"),
        ({"parameters": {"preprocessing.mean": "[0.5]"}}, r"mean None there, \[0.5\] here"),
        ({"labels": ["b", "a"]}, "other labels"),
    ],
)
def test_another_model_under_the_same_name_is_refused(tmp_path, walk, other, told):
    labels = ["a", "b"] if "labels" in other else None
    write(tmp_path, "one", labels=labels)
    before = walk(tmp_path)
    with pytest.raises(RepositoryError, match=told):
        write(tmp_path, "two", **other)
    assert walk(tmp_path) == before
    assert write(tmp_path, "two", **other, replace=True) == "1"
    assert read(tmp_path) == "two"


def test_what_was_tuned_by_hand_stays(tmp_path):
    write(tmp_path, "one")
    path = tmp_path / "net" / "config.pbtxt"
    tuned = "# mine\n" + path.read_text() + "instance_group { count: 3 }\n"
    path.write_text(tuned)
    write(tmp_path, "two")
    assert path.read_text() == tuned
    write(tmp_path, "three", asked=4)
    config = read_config(path)
    assert (config.max_batch_size, config.instance_group[0].count) == (4, 3)


def test_labels_that_are_there_stay_when_none_are_given(tmp_path):
    write(tmp_path, "one", labels=["a", "b"])
    write(tmp_path, "two")
    assert (tmp_path / "net" / "labels.txt").read_text() == "a\nb\n"
    assert read_config(tmp_path / "net" / "config.pbtxt").output[0].label_filename == "labels.txt"


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path, walk):
    write(tmp_path / "repository", "one")
    before = walk(tmp_path)
    with (
        files_of_at_most(100),
        pytest.raises(RepositoryError, match="cannot take the version: File too large; nothing of"),
    ):
        write(tmp_path / "repository", "x" * 101)
    assert walk(tmp_path) == before


@pytest.mark.parametrize("existing", [False, True])
def test_a_step_that_fails_leaves_everything_as_it_was(tmp_path, walk, existing):
    repository = tmp_path / "repository"
    if existing:
        write(repository, "one", labels=["a", "b"])
    before = walk(tmp_path)
    plan = plan_version(
        repository, config_of(size=64), labels=None, max_batch_size=None, replace=True
    )

    def fail():
        with written_version(repository, plan) as draft:
            (draft.folder / "model.onnx").write_text("half")
            assert list_models(repository) == (["net"] if existing else [])
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert walk(tmp_path) == before


@pytest.mark.parametrize("failing", ["copy2", "replace", "rename"])
def test_publishing_that_fails_half_way_is_undone(tmp_path, monkeypatch, walk, failing):
    """Each step after the draft fails once; the old version, labels and configuration stand."""
    import shutil
    from pathlib import Path

    write(tmp_path, "one", labels=["a", "b"])
    config = (tmp_path / "net" / "config.pbtxt").read_text()
    before = walk(tmp_path)
    calls = []
    owner = shutil if failing == "copy2" else Path
    real = getattr(owner, failing)

    def once(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError("impossible")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, failing, once)
        with pytest.raises(OSError, match="impossible"):
            write(tmp_path, "two", labels=["c", "d"], size=64, replace=True)
    assert walk(tmp_path) == before
    assert read(tmp_path) == "one"
    assert (tmp_path / "net" / "config.pbtxt").read_text() == config
    assert (tmp_path / "net" / "labels.txt").read_text() == "a\nb\n"


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_repository import config_of
from eyespot.exporter import repository
from eyespot.v1.repository_folders import list_versions

plan = repository.plan_version(
    Path(sys.argv[1]), config_of(size=64), labels=None, max_batch_size=None, replace=True
)
real = Path.rename
def rename(path, target):
    # The old version is aside, the new one not yet in its place.
    if path.parent.parent.name == "staged":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(path, target)
Path.rename = rename
with repository.written_version(Path(sys.argv[1]), plan) as draft:
    (draft.folder / "model.onnx").write_text("half")
"""


def test_what_a_killed_export_left_is_put_right(tmp_path, walk):
    from pathlib import Path

    write(tmp_path, "one")
    config = (tmp_path / "net" / "config.pbtxt").read_text()
    before = walk(tmp_path)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "net" / "1").exists()
    remove_leftovers(tmp_path)
    assert walk(tmp_path) == before
    assert read(tmp_path) == "one"
    assert (tmp_path / "net" / "config.pbtxt").read_text() == config


def test_the_workspace_of_a_living_export_is_left_alone(tmp_path):
    plan = plan_version(tmp_path, config_of(), labels=None, max_batch_size=None, replace=False)
    with written_version(tmp_path, plan) as draft:
        (draft.folder / "model.onnx").write_text("slow")
        remove_leftovers(tmp_path)
        assert draft.folder.exists()
    assert read(tmp_path) == "slow"


def test_two_exports_at_once_do_not_overwrite_each_other(tmp_path):
    write(tmp_path, "one")
    plan = plan_version(tmp_path, config_of(), labels=None, max_batch_size=None, replace=False)
    slow = written_version(tmp_path, plan)
    draft = slow.__enter__()
    (draft.folder / "model.onnx").write_text("slow")
    assert write(tmp_path, "fast") == "2"
    with pytest.raises(RepositoryError, match="run this one again"):
        slow.__exit__(None, None, None)
    assert read(tmp_path, "2") == "fast"


@pytest.mark.parametrize(
    "name", ["", ".hidden", "..", "a/b", "/a", "a\\b", "a\nb", "a\0b", " a", "a" * 300, "a:b"]
)
def test_names_that_are_no_folder_are_refused(name):
    with pytest.raises(RepositoryError, match="no model name"):
        check_name(name)


@pytest.mark.parametrize("name", ["lenet5", "resnet-18_v1.5", "čísla", "a b"])
def test_other_names_are_kept(name):
    assert check_name(name) == name


def test_a_file_is_no_repository(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RepositoryError, match="cannot be a model repository"):
        write(tmp_path / "file")


def test_small_inputs_are_batched_by_more():
    assert default_batch_size(224 * 224 * 3) < default_batch_size(32 * 32)
    assert default_batch_size(500 * 500 * 3) < default_batch_size(224 * 224 * 3)
