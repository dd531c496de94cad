import json

import pytest

from eyespot.v1.manifest import (
    DynamicAxis,
    GradientGraphs,
    GradientLayer,
    Manifest,
    ManifestError,
    ParityCase,
    ParityReport,
    Provenance,
    TensorSpec,
    read_manifest,
    write_manifest,
)
from eyespot.v1.preprocessing import IMAGENET
from eyespot.v1.sha256 import sha256_of

MANIFEST = Manifest(
    model_name="m",
    model_version="1",
    provenance=Provenance("resnet18", "He et al.", 2015, "file.pt", "00" * 32, {"seed": 1}),
    inputs=(TensorSpec("image", "UINT8", ("batch", 224, 224, 3)),),
    outputs=(TensorSpec("logits", "FP32", ("batch", 10)),),
    channel_axis=3,
    gradient_node="_to_copy",
    preprocessing=IMAGENET,
    parity=ParityReport(1e-6, 1e-5, (ParityCase("random", 2, "logits", 1e-7, 1e-6, 1.0),)),
    opset_version=18,
    parameter_count=11,
    files={"model.onnx": "ab"},
    library_versions={"torch": "2"},
    task="segmentation",
    dynamic_axes=(DynamicAxis("height", 32, 224), DynamicAxis("width", 32, 224)),
    symbols={"source": 256},
)


@pytest.mark.parametrize("manifest", [MANIFEST, MANIFEST._replace(parity=None, preprocessing=None)])
def test_a_manifest_reads_as_it_was_written(tmp_path, manifest):
    write_manifest(manifest, tmp_path / "manifest.json")
    assert read_manifest(tmp_path / "manifest.json") == manifest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "must hold a JSON object, found list"),
        ("{}", "format_version None, expected 2"),
        ('{"format_version": 1}', "is not a manifest"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, text, message):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_manifest(path)


WRONG_TYPES = {
    "dynamic_axes": [{"name": "height", "minimum": "32", "example": 224}],
    "symbols": [],
    "inputs": [{"name": "image", "datatype": "UINT8", "shape": ["batch", 1.5]}],
    "opset_version": True,
    "parity": {"atol": 1e-6, "rtol": "0", "cases": []},
    "channel_axis": "3",
    "model_name": None,
}


@pytest.mark.parametrize("field", WRONG_TYPES)
def test_a_field_of_another_type_is_named(tmp_path, field):
    path = tmp_path / "manifest.json"
    write_manifest(MANIFEST, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: WRONG_TYPES[field]}))
    inner = {"dynamic_axes": "minimum", "inputs": "shape", "parity": "rtol"}.get(field, field)
    with pytest.raises(ManifestError, match=f"is not a manifest.*{inner} must be"):
        read_manifest(path)


def test_layers_of_gradients_are_told_where_there_are_more_than_one(tmp_path):
    path = tmp_path / "manifest.json"
    one = GradientGraphs(layer="relu", layer_shape=(8, -1, -1))
    write_manifest(MANIFEST._replace(gradient_graphs=one), path)
    assert "further_layers" not in path.read_text()  # who does not know them can read on
    assert read_manifest(path).gradient_graphs == one
    assert one.files[-1] == "gradient_layer.onnx"
    modules = ("block.1.add", "block.1")
    further = (GradientLayer("add_1", (4, 7, 7), modules),)
    two = one._replace(layer_modules=("act",), further_layers=further)
    write_manifest(MANIFEST._replace(gradient_graphs=two), path)
    assert read_manifest(path).gradient_graphs == two
    assert two.files[-2:] == ("gradient_layer.onnx", "gradient_layer_add_1.onnx")
    assert [each.sizes for each in two.layers] == [(8, None, None), (4, 7, 7)]
    assert [each.modules for each in two.layers] == [("act",), modules]


def test_a_missing_manifest_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path / "manifest.json")


def test_a_manifest_of_the_first_format_is_of_a_classifier(tmp_path):
    path = tmp_path / "manifest.json"
    write_manifest(MANIFEST, path)
    values = json.loads(path.read_text())
    for field in ("task", "dynamic_axes", "symbols"):
        del values[field]
    del values["provenance"]["transform_input"], values["provenance"]["fine_tuning"]
    path.write_text(json.dumps({**values, "format_version": 1}))
    found = read_manifest(path)
    assert (found.task, found.dynamic_axes, found.symbols) == ("classification", (), {})
    assert found.provenance == MANIFEST.provenance


@pytest.mark.parametrize("field", ["files", "parity", "preprocessing", "inputs", "opset_version"])
def test_a_missing_field_is_named(tmp_path, field):
    path = tmp_path / "manifest.json"
    write_manifest(MANIFEST, path)
    values = json.loads(path.read_text())
    del values[field]
    path.write_text(json.dumps(values))
    with pytest.raises(ManifestError, match=field):
        read_manifest(path)


def test_a_parity_report_prints_as_a_table():
    cases = (
        ParityCase("random", 1, "logits", 1.23456e-7, 3e-6, 1.0),
        ParityCase("pictures", 32, "logits", 0.0, 0.0, 0.96875),
        ParityCase("random, time 15", 2, "flow", 0.5, 0.25, None),
    )
    assert str(ParityReport(0.0, 1e-4, cases)).splitlines() == [
        "tolerance 0 + 0.0001 x scale",
        "inputs           batch  output  max abs diff  max rel diff  top-1",
        "random           1      logits  1.23e-07      3e-06         100.00%",
        "pictures         32     logits  0             0             96.88%",
        "random, time 15  2      flow    0.5           0.25          -",
    ]


def test_hash_of_a_file(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")  # the example of FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "f") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_the_story_of_a_fine_tuning_comes_back(tmp_path):
    told = {"data_sha256": "ab", "metrics": {"accuracy": 0.5}, "unfrozen": ["layer4"]}
    provenance = MANIFEST.provenance._replace(fine_tuning=told)
    write_manifest(MANIFEST._replace(provenance=provenance), tmp_path / "manifest.json")
    assert read_manifest(tmp_path / "manifest.json").provenance.fine_tuning == told
