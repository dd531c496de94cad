"""The whole way from a module to a model version."""

import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from torch import nn

from eyespot.exporter import CaptureError, LabelsError, OnnxError, PreprocessingFitError, export
from eyespot.exporter.export import library_versions
from eyespot.saliency import Objective, Targets
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.v1.manifest import read_manifest
from eyespot.v1.model_config_pb2 import DataType, ModelConfig, ModelInput
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.v1.sha256 import sha256_of


class Stripes(nn.Module):
    """Logits that can be worked out on paper: red minus blue, and twice the green."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red, green, blue = x.mean((2, 3)).unbind(1)
        return torch.stack([red - blue, 2 * green], 1)


def run_onnx(folder: Path, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return session.run(None, {session.get_inputs()[0].name: rows})[0]


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    rule = PreprocessingRule(
        resize_size=None,
        crop_size=(2, 3),
        interpolation="nearest",
        color_order="RGB",
        mean=(0.5, 0.25, 0.0),
        std=(0.5, 0.25, 2.0),
    )
    return export(
        Stripes(),
        torch.zeros(1, 3, 2, 3),
        repository=tmp_path_factory.mktemp("stripes"),
        name="stripes",
        preprocessing=rule,
    )


@pytest.mark.parametrize("rows", [1, 2, 3, 33])
def test_pixels_are_normalised_inside_the_graph(stripes, rows):
    pixels = np.zeros((rows, 2, 3, 3), np.uint8)
    pixels[..., 0] = 255  # red (1 - 0.5) / 0.5 = 1
    pixels[..., 1] = 51  # green (0.2 - 0.25) / 0.25 = -0.2
    pixels[..., 2] = 102  # blue (0.4 - 0) / 2 = 0.2
    expected = np.tile(np.float32([0.8, -0.4]), (rows, 1))
    np.testing.assert_allclose(run_onnx(stripes.path, pixels), expected, atol=1e-6)
    backend = TorchBackend.load(
        stripes.path / "original.pt2", gradient_node=stripes.manifest.gradient_node
    )
    np.testing.assert_allclose(backend.scores(pixels), expected, atol=1e-6)


def test_gradients_begin_at_the_pixels_as_floats(stripes):
    backend = TorchBackend.load(
        stripes.path / "original.pt2", gradient_node=stripes.manifest.gradient_node
    )
    pixels = np.zeros((2, 2, 3, 3), np.uint8)
    found = backend.gradients(pixels, Objective(Targets(np.array([0, 1])))).gradients
    # d logit 0 / d red = 1 / 255 / std 0.5 / 6 pixels; blue likewise with std 2.
    first = np.zeros((2, 3, 3), np.float32)
    first[..., 0], first[..., 2] = 2 / 255 / 6, -0.5 / 255 / 6
    second = np.zeros((2, 3, 3), np.float32)
    second[..., 1] = 2 * 4 / 255 / 6
    np.testing.assert_allclose(found, np.stack([first, second]), rtol=1e-6)


def test_blue_first_pixels_are_not_turned_again(tmp_path):
    rule = PreprocessingRule(None, (2, 3), "nearest", "BGR", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    result = export(
        Stripes(), torch.zeros(1, 3, 2, 3), repository=tmp_path, name="bgr", preprocessing=rule
    )
    pixels = np.zeros((1, 2, 3, 3), np.uint8)
    pixels[..., 0] = 255  # the network's first channel, which it was trained to see as blue
    np.testing.assert_allclose(run_onnx(result.path, pixels), [[1.0, 0.0]], atol=1e-6)


def test_config_is_what_triton_reads(exported, rule):
    text = (exported.path.parent / "config.pbtxt").read_text()
    config = text_format.Parse(text, ModelConfig())
    assert (config.name, config.backend, config.platform) == (
        "small",
        "onnxruntime",
        "onnxruntime_onnx",
    )
    assert config.max_batch_size == 32
    (image,) = config.input
    assert (image.name, image.data_type, image.format) == (
        "image",
        DataType.TYPE_UINT8,
        ModelInput.FORMAT_NHWC,
    )
    assert list(image.dims) == [12, 12, 3]
    (logits,) = config.output
    assert (logits.name, logits.data_type, list(logits.dims)) == ("logits", DataType.TYPE_FP32, [5])
    assert logits.label_filename == "labels.txt"
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert PreprocessingRule.from_parameters(parameters) == rule


def test_manifest_tells_the_truth(exported, rule):
    manifest = read_manifest(exported.path / "manifest.json")
    assert manifest == exported.manifest
    assert (manifest.model_name, manifest.model_version) == ("small", "1")
    assert manifest.inputs[0].shape == ("batch", 12, 12, 3)
    assert manifest.outputs[0].shape == ("batch", 5)
    assert manifest.channel_axis == 3
    assert manifest.preprocessing == rule
    # 3x6x9 + 6 convolution, 2 x 6 batch norm, 6 x 5 + 5 head
    assert manifest.parameter_count == 162 + 6 + 12 + 35
    assert [case.batch_size for case in manifest.parity.cases] == [1, 2, 32]
    assert all(case.max_rel_diff < 1e-5 for case in manifest.parity.cases)
    assert all(case.top1_agreement == 1 for case in manifest.parity.cases)
    assert set(manifest.library_versions) == {
        "eyespot",
        "torch",
        "onnx",
        "onnxscript",
        "onnxruntime",
    }
    for file in ("model.onnx", "original.pt2"):
        assert manifest.files[file] == sha256_of(exported.path / file)
    assert (exported.path.parent / "labels.txt").read_text(encoding="utf-8") == "a\nb\nç\nd d\ne\n"


def test_onnx_runtime_for_gpus_is_another_distribution(monkeypatch):
    """`pip install onnxruntime-gpu` brings the module, and no distribution of its name."""
    found = metadata.version

    def version(name):
        if name == "onnxruntime":
            raise metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(metadata, "version", version)
    assert library_versions()["onnxruntime"] == onnxruntime.__version__


def test_without_preprocessing_the_graph_takes_what_the_network_takes(tmp_path, make_net, sample):
    net = make_net()
    result = export(net, sample, repository=tmp_path, name="plain", independent_classes=True)
    assert (result.manifest.inputs[0].name, result.manifest.inputs[0].datatype) == ("input", "FP32")
    assert result.manifest.inputs[0].shape == ("batch", 3, 12, 12)
    assert result.manifest.channel_axis == 1
    rows = torch.randn(4, 3, 12, 12)
    with torch.no_grad():
        expected = net.eval()(rows).numpy()
    np.testing.assert_allclose(run_onnx(result.path, rows.numpy()), expected, atol=1e-5)
    config = text_format.Parse((tmp_path / "plain" / "config.pbtxt").read_text(), ModelConfig())
    assert config.input[0].format == ModelInput.FORMAT_NCHW
    told = {name: value.string_value for name, value in config.parameters.items()}
    assert told == {"classes": "independent"}
    assert not config.output[0].label_filename


def test_onnx_has_one_dynamic_dimension_and_the_opset_asked_for(tmp_path, make_net, sample):
    result = export(make_net(), sample, repository=tmp_path, name="net", opset_version=20)
    model = onnx.load(result.path / "model.onnx")
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 20}
    sizes = [d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", 5]


def test_the_same_module_gives_the_same_bytes(tmp_path, make_net, sample, rule, exported):
    again = export(make_net(), sample, repository=tmp_path, name="other", preprocessing=rule)
    assert again.manifest.files["model.onnx"] == exported.manifest.files["model.onnx"]


def test_no_file_tells_of_the_machine(exported):
    archive = zipfile.ZipFile(exported.path / "original.pt2")
    contents = {name: archive.read(name) for name in archive.namelist()}
    for file in ("model.onnx", "manifest.json"):
        contents[file] = (exported.path / file).read_bytes()
    foreign = [Path.cwd(), Path.home(), Path(torch.__file__).parents[1], Path(__file__).parent]
    for name, content in contents.items():
        for trace in [b".py", b"onnx.stack_trace", *(str(path).encode() for path in foreign)]:
            assert trace not in content, (name, trace)


def test_name_scopes_stay(exported):
    assert b"network.conv" in (exported.path / "model.onnx").read_bytes()
    archive = zipfile.ZipFile(exported.path / "original.pt2")
    (graph,) = [name for name in archive.namelist() if name.endswith("models/model.json")]
    assert b"network.conv" in archive.read(graph)


def test_no_sample_inputs_are_pickled(exported):
    archive = zipfile.ZipFile(exported.path / "original.pt2")
    samples = [info for info in archive.infolist() if "sample_inputs" in info.filename]
    assert [info.file_size for info in samples] == [0]


def _state(module):
    return (
        [part.training for part in module.modules()],
        [(p.requires_grad, p.grad, p.device, p.data_ptr()) for p in module.parameters()],
        {name: value.clone() for name, value in module.state_dict().items()},
        [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()],
    )


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_is_left_as_it_was_found(tmp_path, make_net, sample, fails):
    net = make_net().train()
    net.norm.eval()
    net.conv.weight.requires_grad_(False)
    before = _state(net)
    if fails:
        with pytest.raises(LabelsError):
            export(net, sample, repository=tmp_path, name="net", labels=["one"])
    else:
        export(net, sample, repository=tmp_path, name="net")
    after = _state(net)
    assert after[0] == before[0]
    assert after[1] == before[1]
    assert all(torch.equal(after[2][name], before[2][name]) for name in before[2])
    assert after[3] == before[3]


def test_a_module_in_training_is_exported_in_eval(tmp_path, make_net, sample):
    trained = export(make_net().train(), sample, repository=tmp_path, name="a")
    evaluated = export(make_net().eval(), sample, repository=tmp_path, name="b")
    assert trained.manifest.files["model.onnx"] == evaluated.manifest.files["model.onnx"]


def test_a_module_without_values_is_refused(tmp_path, make_net, sample):
    with pytest.raises(CaptureError, match="not on the CPU and cannot be copied"):
        export(make_net().to("meta"), sample, repository=tmp_path / "new", name="net")
    assert not (tmp_path / "new").exists()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_module_on_a_gpu_stays_there_and_gives_the_same_model(tmp_path, make_net, sample):
    net = make_net().cuda()
    there = export(net, sample, repository=tmp_path, name="a")
    here = export(make_net(), sample, repository=tmp_path, name="b")
    assert all(value.is_cuda for value in net.parameters())
    assert there.manifest.files["model.onnx"] == here.manifest.files["model.onnx"]


def test_progress_names_the_steps(tmp_path, make_net, sample):
    lines = []
    export(make_net(), sample, repository=tmp_path, name="net", progress=lines.append)
    assert [line.split()[-1] for line in lines] == [
        "module",
        "original.pt2",
        "model.onnx",
        "batches",
    ]


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"labels": ["a", "b"]}, LabelsError, "2 labels for 5 classes"),
        ({"opset_version": 17}, OnnxError, "opset 17"),
        ({"max_batch_size": 0}, CaptureError, "at least 1, found 0"),
        (
            {
                "preprocessing": PreprocessingRule(
                    14, (11, 12), "bilinear", "RGB", (0,) * 3, (1,) * 3
                )
            },
            PreprocessingFitError,
            "11x12",
        ),
        (
            {"preprocessing": PreprocessingRule(12, None, "bilinear", "RGB", (0,) * 3, (1,) * 3)},
            PreprocessingFitError,
            "depends on the picture",
        ),
        (
            {"preprocessing": PreprocessingRule(12, (12, 12), "bilinear", "GRAY", (0,), (1,))},
            PreprocessingFitError,
            "1 channels",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left(
    tmp_path, make_net, sample, walk, arguments, error, told
):
    with pytest.raises(error, match=told):
        export(make_net(), sample, repository=tmp_path / "new", name="net", **arguments)
    assert walk(tmp_path) == []


@pytest.mark.parametrize(
    ("sample_inputs", "told"),
    [
        (np.zeros((1, 3, 12, 12), np.float32), "is of type ndarray: a tensor is expected"),
        ((torch.zeros(1, 3, 12, 12), "x"), "is of type str: a tensor is expected"),
        ((), "is empty"),
        (torch.zeros(1, 3, 12, 12, dtype=torch.float64), "float64 of shape .* is expected"),
        (torch.zeros(3, 12, 12), r"first axis must be the batch: is \[1, 3, 12, 12\] meant"),
    ],
)
def test_samples_that_are_no_batch_are_refused(tmp_path, make_net, walk, sample_inputs, told):
    with pytest.raises(CaptureError, match=told):
        export(make_net(), sample_inputs, repository=tmp_path / "new", name="net")
    assert walk(tmp_path) == []


def test_labels_that_repeat_are_noted(tmp_path, make_net, sample):
    lines = []
    labels = ["crane", "b", "crane", "d", "e"]
    result = export(
        make_net(), sample, repository=tmp_path, name="net", labels=labels, progress=lines.append
    )
    assert result.notes == ("label 'crane' names 2 classes",)
    assert "label 'crane' names 2 classes" in lines


def test_pictures_are_compared_too_and_broken_ones_named(tmp_path, make_net, sample, rule):
    from PIL import Image

    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(noise).save(folder / "one.png")
    Image.fromarray(noise[:, ::-1]).save(folder / "below" / "two.JPG", "JPEG")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    result = export(
        make_net(),
        sample,
        repository=tmp_path / "repository",
        name="net",
        preprocessing=rule,
        parity_images=folder,
    )
    case = result.manifest.parity.cases[-1]
    assert (case.source, case.batch_size) == ("2 pictures, 1 unreadable", 2)
    (note,) = result.notes
    assert "broken.png" in note
    assert str(tmp_path) not in note


def test_no_usable_picture_is_no_proof(tmp_path, make_net, sample, rule, walk):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(PreprocessingFitError, match="no usable picture among 0"):
        export(
            make_net(),
            sample,
            repository=tmp_path / "repository",
            name="net",
            preprocessing=rule,
            parity_images=tmp_path / "pictures",
        )
    assert walk(tmp_path) == ["pictures"]
