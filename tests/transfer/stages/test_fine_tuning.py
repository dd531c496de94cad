"""The whole way, on a network of a few weights; and for real where the published files are."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from tests.transfer.stages.conftest import RULE, make_examples, make_network

from eyespot.exporter import RepositoryError, inspect_entry
from eyespot.transfer import Examples, PictureSplit, SettingsError, predict
from eyespot.transfer.stages import (
    METHODS,
    Machine,
    Recipe,
    compare_methods,
    export_fine_tuned,
    facts_of,
    fine_tune,
    report_of,
    require_place,
)
from eyespot.zoo.resnet_cifar import CIFAR10

QUICK = {"epochs": 1, "batch_size": 8, "augment": "gentle", "head_epochs": 5}
LABELS = ("dark", "bright")


def split_of(labels=None):
    train, held_out = make_examples(16), make_examples(8, seed=1)
    if labels is not None:
        train, held_out = (Examples(part.images, labels(part)) for part in (train, held_out))
    return PictureSplit(train, held_out, LABELS)


def tuned(split=None, folder=None, **settings):
    return fine_tune(
        split or split_of(),
        Recipe(**{**QUICK, **settings}),
        backbone=make_network(5),
        rule=RULE,
        machine=Machine(),
        folder=folder,
    )


@pytest.mark.parametrize(
    ("method", "changed"),
    [
        ("linear-probe", {"head"}),
        ("head", {"head"}),
        ("last-block", {"another", "head"}),
        ("full", {"stem", "middle", "last", "another", "head"}),
        ("gradual", {"stem", "middle", "last", "another", "head"}),
    ],
)
def test_each_method_changes_what_it_names(method, changed):
    before = make_network(5).state_dict()
    result = tuned(method=method, learning_rate=0.02)
    after = result.network.state_dict()
    differing = {
        name.partition(".")[0]
        for name in after
        if name not in before or not torch.equal(before[name], after[name])
    }
    assert result.block is None or result.block.best_epoch > 0
    assert differing == changed
    assert result.metrics.count == 8
    assert facts_of(result)["method"].startswith(method)


def test_stage_1_leaves_each_tensor_of_the_backbone_bit_for_bit():
    before = make_network(5).state_dict()
    after = tuned(method="linear-probe").network.state_dict()
    trunk = [name for name in before if not name.startswith("head.")]
    assert len(trunk) == 23
    assert any("running_var" in name for name in trunk)
    assert all(torch.equal(before[name], after[name]) for name in trunk)


def test_the_second_run_finds_its_features(tmp_path):
    first, second = (tuned(method="linear-probe", folder=tmp_path) for _ in range(2))
    assert not first.probe.were_features_cached
    assert second.probe.were_features_cached
    assert np.array_equal(first.logits, second.logits)
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_several_labels_and_one_probability():
    both = split_of(lambda part: np.stack([part.labels, 1 - part.labels], 1).astype(np.float32))
    several = tuned(both, task="multi-label", method="last-block", balance="weights")
    assert several.logits.shape == (8, 2)
    assert several.metrics.kind == "multi_label"
    single = tuned(task="single-probability", method="linear-probe", balance="sampling")
    assert single.logits.shape == (8, 1)
    assert single.metrics.kind == "probability"


def test_what_is_exported_is_what_was_measured_with_its_past(tmp_path):
    result = tuned(
        method="last-block", task="single-probability", temperature=True, learning_rate=0.02
    )
    exported = export_fine_tuned(result, tmp_path, name="bright")
    session = onnxruntime.InferenceSession(exported.path / "model.onnx")
    (served,) = session.run(None, {"image": result.split.held_out.images})
    # One logit z is served as (0, z).
    assert np.allclose(served[:, 1:], result.logits, atol=1e-5)
    assert not served[:, 0].any()
    entry = inspect_entry(tmp_path, "bright")
    assert entry.preprocessing == RULE
    told = entry.provenance.fine_tuning
    assert told["data_sha256"] == result.split.digest
    assert told["unfrozen"] == ["another"]
    assert told["metrics"]["accuracy"] == result.metrics.accuracy
    assert told["recipe"]["method"] == "last-block"
    assert facts_of(result)["probability"] == "of bright, rather than dark"
    assert told["temperature"] == result.temperature.value
    assert "8 pictures" in [case.source for case in exported.manifest.parity.cases]
    assert (tmp_path / "bright" / "labels.txt").read_text() == "dark\nbright\n"
    report = report_of(result, title="bright or dark")
    assert [point.is_kept for point in report.history].count(True) == 1
    assert report.recipe == result.recipe.to_toml()


def test_a_temperature_divides_the_logits():
    plain, divided = (tuned(method="linear-probe", temperature=each) for each in (False, True))
    images = plain.split.held_out.images
    backbone = dataclasses.replace(divided.backbone, network=divided.network)
    assert np.allclose(
        predict(backbone.module.eval(), images),
        plain.logits / divided.temperature.value,
        atol=1e-5,
    )


def test_methods_are_compared_from_one_start():
    begun = []
    rows = list(
        compare_methods(
            split_of(),
            Recipe(**QUICK),
            backbone=make_network(5),
            rule=RULE,
            machine=Machine(),
            begin=begun.append,
        )
    )
    assert [row.method for row in rows] == begun == list(METHODS)
    # 4 -> 2 with biases; and the block "another", 4 -> 4 with biases.
    assert (rows[0].trained, rows[2].trained) == (10, 30)
    assert all(row.cpu_seconds > 0 for row in rows)
    assert rows[0].accuracy == tuned(method="linear-probe").metrics.accuracy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unfreeze": 9}, "9 blocks cannot be unfrozen: the network has 4"),
        ({"task": "multi-label"}, "needs pictures of any number of classes"),
    ],
)
def test_what_does_not_fit_the_data_or_the_network_is_told(settings, message):
    with pytest.raises(SettingsError, match=message):
        tuned(**settings)


def test_a_repository_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RepositoryError, match=r"file/models cannot be written .*--no-export"):
        require_place(tmp_path / "file" / "models", name="digits")
    with pytest.raises(RepositoryError, match="is no model name"):
        require_place(tmp_path, name="a/b")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "labels.txt").write_text("cat\ndog\n")
    require_place(tmp_path, name="there", labels=("cat", "dog"))
    require_place(tmp_path, name="there", labels=LABELS, replace=True)
    with pytest.raises(RepositoryError, match=r"there in .* has other classes"):
        require_place(tmp_path, name="there", labels=LABELS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]


def test_the_published_checkpoint_learns_a_part_of_cifar():
    folder = Path(os.environ.get("EYESPOT_DATA", "nowhere"))
    if not (folder / "resnet20-12fca82f.th").is_file():
        pytest.skip("EYESPOT_DATA names no folder with resnet20-12fca82f.th and cifar10/train")
    recipe = Recipe(
        backbone="resnet20",
        weights=str(folder / "resnet20-12fca82f.th"),
        method="linear-probe",
        head_epochs=20,
    )
    parts = []
    for part, number in (("train", 20), ("test", 20)):
        paths = [
            sorted((folder / "cifar10" / part / name).iterdir())[:number]
            for name in ("cat", "ship", "truck")
        ]
        images = [CIFAR10.apply(Image.open(path)) for some in paths for path in some]
        parts.append(Examples(np.stack(images), np.repeat(np.arange(3), number)))
    result = fine_tune(PictureSplit(*parts, ("cat", "ship", "truck")), recipe, machine=Machine())
    assert result.metrics.accuracy > 0.85
