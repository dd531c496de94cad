"""Quantisation of a small network, from the folder of pictures to the version on disk."""

import dataclasses
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from eyespot.exporter import (
    CalibrationError,
    DerivationError,
    ExportError,
    NotWorthwhileError,
    check_repository,
    inspect_entry,
)
from eyespot.exporter.parity import Batch, open_session, run_session
from eyespot.exporter.quantisation import Recipe, convert, draw_sensitivities, quantize
from eyespot.exporter.quantisation.calibration import Calibration, read_calibration
from eyespot.exporter.quantisation.maps import map_correlation
from eyespot.exporter.quantisation.quantize import _too_far
from eyespot.exporter.quantisation.sensitivity import Choice
from eyespot.exporter.quantisation.source import open_source
from eyespot.v1.manifest import read_manifest

FORCED = Recipe(even_if_worse=True, processor="avx2")


@pytest.fixture(scope="module")
def quantised(repository, calibration):
    return quantize(repository, "small", calibration=calibration, recipe=FORCED)


def test_it_is_a_sibling_with_all_that_its_source_has(quantised, repository, exported):
    version = quantised.derived.path
    assert version == repository / "small_int8" / "1"
    assert (version / "original.pt2").samefile(repository / "small" / "1" / "original.pt2")
    assert (version.parent / "labels.txt").read_text() == "a\nb\nç\nd d\ne\n"
    manifest = read_manifest(version / "manifest.json")
    assert manifest == quantised.derived.manifest
    assert manifest.is_quantised
    assert manifest.inputs == exported.manifest.inputs
    assert manifest.gradient_node == exported.manifest.gradient_node
    [step] = manifest.derivations
    assert str(step) == "quantised from small version 1"
    assert step.model_sha256 == exported.manifest.files["model.onnx"]
    assert step.settings["calibration_pictures"] == 24
    assert step.settings["numbers"] == "U8S8, weights of 7 bits"


def test_folders_that_are_no_labels_are_told(repository, calibration, tmp_path):
    for number, picture in enumerate(sorted(calibration.iterdir())):
        folder = tmp_path / ("a", "cat")[number % 2]
        folder.mkdir(exist_ok=True)
        (folder / picture.name).symlink_to(picture)
    found = read_calibration(open_source(repository, "small", None), tmp_path)
    assert found.classes is None
    assert found.notes[0].startswith("no label of the model is called cat: ")
    assert read_calibration(open_source(repository, "small", None), calibration).notes == ()


def test_agreement_is_that_of_every_other_picture(quantised, repository, rows, answers):
    held_out = rows[1::2]
    before = answers(repository / "small" / "1", held_out)
    after = answers(quantised.derived.path, held_out)
    found = quantised.agreement
    assert found.pictures == 24
    assert found.top1_agreement == np.mean(before.argmax(1) == after.argmax(1))
    assert found.max_abs_diff == pytest.approx(np.abs(before - after).max())
    error = np.linalg.norm(before - after) / np.linalg.norm(before)
    assert 0 < error < 0.05
    assert found.relative_error == pytest.approx(error, rel=1e-5)
    assert found.accuracy is None


def test_weights_have_seven_bits_and_no_zero_point(quantised):
    graph = onnx.load(quantised.derived.path / "model.onnx").graph
    weights = [w for w in graph.initializer if w.data_type == TensorProto.INT8 and len(w.dims) > 1]
    assert len(weights) == 2
    for weight in weights:
        values = onnx.numpy_helper.to_array(weight)
        assert 60 <= np.abs(values.astype(int)).max() <= 64
    zero_points = [w for w in graph.initializer if w.name.endswith("weight_zero_point")]
    assert not any(onnx.numpy_helper.to_array(w).any() for w in zero_points)


def test_the_tolerance_is_stated_and_the_check_holds_it(quantised, repository):
    parity = quantised.derived.manifest.parity
    worst = max(case.max_rel_diff for case in parity.cases)
    assert 2 * worst <= parity.rtol <= 2.2 * worst + 1e-4
    assert {case.source for case in parity.cases} == {"random", "noise", "24 held out"}
    [result] = [r for r in check_repository(repository) if r.model_name == "small_int8"]
    assert result.ok, result.reasons
    assert result.derivation == "quantised from small version 1"


def test_another_network_is_found_out(quantised, repository, tmp_path):
    copy = tmp_path / "repository" / "small_int8"
    shutil.copytree(quantised.derived.path.parent, copy)
    manifest = json.loads((copy / "1" / "manifest.json").read_text())
    manifest["parity"]["rtol"] /= 100
    (copy / "1" / "manifest.json").write_text(json.dumps(manifest))
    [result] = check_repository(tmp_path / "repository")
    assert not result.ok


def test_every_layer_was_tried_alone(quantised):
    assert [(each.title, each.operator) for each in quantised.sensitivities] == [
        ("conv", "Conv"),
        ("head", "Gemm"),
    ]
    assert [each.parameters for each in quantised.sensitivities] == [6 * 3 * 3 * 3, 6 * 5]
    assert all(0 < each.relative_error < 0.05 for each in quantised.sensitivities)


def test_maps_are_compared(quantised):
    measured = quantised.derived.manifest.derivations[0].measured
    assert 0.5 < measured["map_rank_correlation"] < 1
    assert (measured["map_method"], measured["map_pictures"]) == ("occlusion", 4)


def test_maps_of_the_same_and_of_the_opposite_network(repository, rows):
    source = open_source(repository, "small", "1")
    original = run_session(open_session(source.graph))
    batches = [Batch("pictures", (rows[:2],))]
    assert map_correlation(source, original, original, batches) == pytest.approx(1)
    opposite = map_correlation(source, original, lambda x: (-original(x)[0],), batches)
    assert opposite == pytest.approx(-1)


def test_the_layers_are_drawn(quantised, tmp_path):
    draw_sensitivities(quantised.sensitivities, tmp_path / "a.png", title="small")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_an_entry_tells_how_it_was_made(quantised, repository):
    entry = inspect_entry(repository, "small_int8")
    assert entry.derivations == quantised.derived.manifest.derivations


def test_what_is_quantised_is_not_quantised_again(quantised, repository, calibration):
    with pytest.raises(DerivationError) as error:
        quantize(repository, "small_int8", calibration=calibration)
    assert str(error.value) == (
        "small_int8 version 1 is quantised from small version 1 already: "
        f"give {repository / 'small' / '1'}"
    )


def test_the_weights_of_what_is_quantised_are_whole_numbers(quantised, repository):
    with pytest.raises(DerivationError, match="its weights are INT8 already"):
        convert(repository, "small_int8", to="int8 weights")


def test_its_own_name_is_no_other(repository, calibration):
    with pytest.raises(DerivationError, match=r"small is the name of what .* --as-version"):
        quantize(repository, "small", calibration=calibration, model_name="small")


def test_accuracy_where_the_folders_are_called_like_labels(
    repository, calibration, rows, labels, answers, tmp_path, as_fast_as
):
    as_fast_as(0.5)
    tops = answers(repository / "small" / "1", rows).argmax(1)
    for picture, top in zip(sorted(calibration.iterdir()), tops, strict=True):
        folder = tmp_path / "known" / labels[top]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder)
    found = quantize(
        repository,
        "small",
        calibration=tmp_path / "known",
        model_name="accurate",
        recipe=Recipe(max_accuracy_drop=100),
    )
    assert found.agreement.source_accuracy == 1
    assert found.agreement.accuracy == found.agreement.top1_agreement
    assert found.derived.model_name == "accurate"


def test_pictures_that_the_network_does_not_know(
    repository, calibration, rows, labels, answers, tmp_path
):
    tops = answers(repository / "small" / "1", rows).argmax(1)
    for picture, top in zip(sorted(calibration.iterdir()), tops, strict=True):
        folder = tmp_path / "unknown" / labels[(top + 1) % len(labels)]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder)
    with pytest.raises(CalibrationError, match=r"0\.0% of the pictures, .* chance \(20\.0%\)"):
        quantize(repository, "small", calibration=tmp_path / "unknown")


def test_too_much_accuracy_is_lost(quantised):
    agreement = dataclasses.replace(quantised.agreement, accuracy=0.5, source_accuracy=0.75)
    pictures = Calibration((), (), None)
    choice = Choice((), agreement, is_enough=False)
    said = _too_far(choice, Recipe(), pictures, layers=2)
    assert "accuracy falls by 25.0 points, at most 1 is allowed, on 24 held-out" in said
    assert "a larger --max-accuracy-drop may help" in said


def test_too_few_pictures(repository, calibration, tmp_path):
    for picture in sorted(calibration.iterdir())[:31]:
        shutil.copy(picture, tmp_path)
    with pytest.raises(CalibrationError, match="31 usable pictures: at least 32 are needed"):
        quantize(repository, "small", calibration=tmp_path)


def test_too_few_pictures_for_a_flag(repository, calibration):
    says = "2 usable pictures among the 2 of its 48 that --most-pictures 2 lets be read: at least"
    with pytest.raises(CalibrationError, match=says):
        quantize(repository, "small", calibration=calibration, recipe=Recipe(most_pictures=2))


def test_too_much_is_lost(repository, calibration, as_fast_as, tmp_path):
    as_fast_as(0.5)
    shutil.copytree(calibration, tmp_path / "pictures")
    for name in ("bad.jpg", "worse.jpg"):
        (tmp_path / "pictures" / name).write_text("garbage")
    recipe = Recipe(min_agreement=1.1)  # nothing will do
    with pytest.raises(NotWorthwhileError) as error:
        quantize(repository, "small", calibration=tmp_path / "pictures", recipe=recipe)
    said = str(error.value)
    assert "at least 110% is asked for, on 24 held-out pictures, even with 1 of 2 layers" in said
    assert "; left out as unusable: 2 of 50 pictures, the first bad.jpg: cannot identify" in said
    assert "--max-accuracy-drop" not in said  # which is for pictures whose classes are known


def test_a_slower_version_does_not_land(repository, calibration, as_fast_as):
    as_fast_as(2.0)
    before = sorted(repository.rglob("*"))
    recipe = Recipe(min_agreement=0)
    with pytest.raises(NotWorthwhileError, match="slower than FP32 here: 2 ms for 1 ms"):
        quantize(repository, "small", calibration=calibration, recipe=recipe)
    assert sorted(repository.rglob("*")) == before


def test_a_second_measurement_is_believed(repository, calibration, as_fast_as):
    as_fast_as(2.0, 0.5)
    found = quantize(
        repository,
        "small",
        calibration=calibration,
        model_name="again",
        recipe=Recipe(min_agreement=0),
    )
    assert found.derived.model_version == "1"


def test_dynamic_ranges_as_the_next_version(repository, calibration):
    found = quantize(
        repository,
        "small",
        calibration=calibration,
        as_version=True,
        version="1",
        recipe=Recipe(method="dynamic", even_if_worse=True),
    )
    assert found.derived.path == repository / "small" / "2"
    operators = {n.op_type for n in onnx.load(found.derived.path / "model.onnx").graph.node}
    assert {"ConvInteger", "MatMulInteger"} <= operators
    assert found.agreement.relative_error < 0.1
    shutil.rmtree(found.derived.path)


def test_a_model_that_takes_arrays(repository, calibration, tmp_path):
    shutil.copytree(repository / "small", tmp_path / "small")
    manifest = json.loads((tmp_path / "small" / "1" / "manifest.json").read_text())
    manifest["preprocessing"] = None
    (tmp_path / "small" / "1" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DerivationError, match="takes arrays"):
        quantize(tmp_path, "small", calibration=calibration)


def test_a_model_without_a_manifest(repository, calibration, tmp_path):
    shutil.copytree(repository / "small", tmp_path / "small")
    (tmp_path / "small" / "1" / "manifest.json").unlink()
    with pytest.raises(ExportError, match=r"manifest\.json"):
        quantize(tmp_path, "small", calibration=calibration)


def test_a_graph_that_has_changed(repository, calibration, tmp_path):
    shutil.copytree(repository / "small", tmp_path / "small")
    with (tmp_path / "small" / "1" / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DerivationError, match="has changed since it was written"):
        quantize(tmp_path, "small", calibration=calibration)
