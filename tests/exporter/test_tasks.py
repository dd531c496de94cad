"""Networks that are no classifiers: several inputs and outputs, of any rank, with free sizes."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from torch import nn
from torch.nn import functional

from eyespot.exporter import (
    CaptureError,
    LabelsError,
    ParityError,
    PreprocessingFitError,
    check_repository,
    export,
)
from eyespot.v1.manifest import DynamicAxis, read_manifest
from eyespot.v1.model_config_pb2 import DataType, ModelConfig, ModelInput
from eyespot.v1.preprocessing import PreprocessingRule

PLAIN = PreprocessingRule(None, None, "bilinear", "RGB", (0.5,) * 3, (0.25,) * 3)
PICTURE = {2: "height", 3: "width"}


class Segmenter(nn.Module):
    """Halves its picture twice, once rounding up, and brings it back to the size that came."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.score = nn.Conv2d(4, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.max_pool2d(torch.relu(self.conv(x)), 2, ceil_mode=True)
        return functional.interpolate(self.score(y), size=x.shape[2:], mode="bilinear")


class Translator(nn.Module):
    """Symbols of two alphabets in, of one length; logits of the second for each step out."""

    def __init__(self) -> None:
        super().__init__()
        self.source = nn.Embedding(7, 6)
        self.target = nn.Embedding(9, 6)
        self.conv = nn.Conv1d(6, 9, 2)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        x = (self.source(source) + self.target(target)).transpose(1, 2)
        return self.conv(functional.pad(x, (1, 0))).transpose(1, 2)


class TwoAnswers(nn.Module):
    """Mean and spread of each channel; the tracer calls the mean of a mean "mean" itself."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean((2, 3)) * 2, x.var((2, 3))


def seeded(network):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return network()


def run_onnx(result, *arrays):
    session = onnxruntime.InferenceSession(result.path / "model.onnx")
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))


def config_of(result):
    return text_format.Parse((result.path.parent / "config.pbtxt").read_text(), ModelConfig())


def sizes_of(values):
    return [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in values
    ]


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    return export(
        seeded(Segmenter),
        torch.zeros(1, 3, 20, 24),
        repository=tmp_path_factory.mktemp("segmenter"),
        name="segmenter",
        task="segmentation",
        dynamic_axes=PICTURE,
        min_size=4,
        preprocessing=PLAIN,
        labels=["a", "b", "c", "d", "e"],
        max_batch_size=4,
    )


@pytest.mark.parametrize("size", [(4, 4), (5, 31), (32, 18)])
def test_pictures_of_any_size_are_segmented(segmenter, size):
    pixels = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255.0 - 0.5) / 0.25
    with torch.no_grad():
        expected = seeded(Segmenter)(x).numpy()
    (found,) = run_onnx(segmenter, pixels)
    assert found.shape == (3, 5, *size)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_sizes_of_a_picture_have_their_names(segmenter):
    graph = onnx.load(segmenter.path / "model.onnx").graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["image", "segmentation"]
    assert sizes_of(graph.input) == [["batch", "height", "width", 3]]
    assert sizes_of(graph.output) == [["batch", 5, "height", "width"]]
    config = config_of(segmenter)
    assert (list(config.input[0].dims), list(config.output[0].dims)) == ([-1, -1, 3], [5, -1, -1])
    assert (config.input[0].format, config.max_batch_size) == (ModelInput.FORMAT_NHWC, 4)
    assert config.output[0].label_filename == "labels.txt"


def test_the_manifest_tells_task_and_sizes(segmenter):
    manifest = read_manifest(segmenter.path / "manifest.json")
    assert manifest == segmenter.manifest
    assert manifest.task == "segmentation"
    assert manifest.dynamic_axes == (DynamicAxis("height", 4, 20), DynamicAxis("width", 4, 24))
    assert manifest.inputs[0].shape == ("batch", "height", "width", 3)
    assert manifest.outputs[0].shape == ("batch", 5, "height", "width")
    assert (manifest.channel_axis, manifest.gradient_node) == (3, "to")


def test_parity_is_measured_at_several_sizes(segmenter):
    assert [(case.source, case.batch_size) for case in segmenter.manifest.parity.cases] == [
        ("random, height 20, width 24", 1),
        ("random, height 20, width 24", 2),
        ("random, height 20, width 24", 4),
        ("random, height 4, width 4", 2),
        ("random, height 11, width 14", 2),
    ]
    assert all(case.top1_agreement == 1 for case in segmenter.manifest.parity.cases)
    (checked,) = check_repository(segmenter.path.parents[1])
    assert checked.reasons == ()
    assert checked.parity == segmenter.manifest.parity


def test_two_inputs_of_symbols_share_their_time(tmp_path):
    network = seeded(Translator)
    result = export(
        network,
        (torch.full((1, 12), 6), torch.full((1, 12), 8)),
        repository=tmp_path,
        name="translator",
        task="sequence",
        input_names=["source", "target"],
        dynamic_axes=[{1: "time"}, {1: "time"}],
        min_size=1,
    )
    manifest = result.manifest
    assert [spec.shape for spec in manifest.inputs] == [("batch", "time")] * 2
    assert [(spec.name, spec.shape) for spec in manifest.outputs] == [
        ("logits", ("batch", "time", 9))
    ]
    assert (manifest.symbols, manifest.gradient_node) == ({"source": 7, "target": 9}, None)
    assert [case.source for case in manifest.parity.cases][2:] == [
        "random, time 12",
        "random, time 1",
        "random, time 8",
    ]
    assert [(i.name, i.data_type, list(i.dims)) for i in config_of(result).input] == [
        ("source", DataType.TYPE_INT64, [-1]),
        ("target", DataType.TYPE_INT64, [-1]),
    ]
    source, target = np.array([[0, 6, 1]]), np.array([[8, 0, 2]])
    with torch.no_grad():
        expected = network(torch.from_numpy(source), torch.from_numpy(target)).numpy()
    np.testing.assert_allclose(run_onnx(result, source, target)[0], expected, atol=1e-5)
    (checked,) = check_repository(tmp_path)
    assert (checked.reasons, checked.parity) == ((), manifest.parity)


def test_two_outputs_are_compared_one_by_one(tmp_path):
    result = export(
        TwoAnswers(),
        torch.zeros(1, 3, 4, 2),
        repository=tmp_path,
        name="two",
        task="image",
        output_names=["mean", "variance"],
        max_batch_size=2,
    )
    assert [(case.batch_size, case.output) for case in result.manifest.parity.cases] == [
        (1, "mean"),
        (1, "variance"),
        (2, "mean"),
        (2, "variance"),
    ]
    assert {case.top1_agreement for case in result.manifest.parity.cases} == {None}
    assert [output.name for output in config_of(result).output] == ["mean", "variance"]
    mean, variance = run_onnx(result, np.float32([[[[1, 3]], [[0, 0]], [[5, 7]]]]).repeat(4, 2))
    np.testing.assert_allclose(mean, [[4, 0, 12]])
    np.testing.assert_allclose(variance, [[8 / 7, 0, 8 / 7]], rtol=1e-6)


@pytest.mark.parametrize(
    ("task", "network", "name", "shape"),
    [
        ("embedding", nn.Sequential(nn.Flatten(), nn.Linear(48, 8)), "embedding", ("batch", 8)),
        ("flow", nn.Conv2d(3, 2, 1), "flow", ("batch", 2, 4, 4)),
        ("image", nn.Conv2d(3, 3, 1), "reconstruction", ("batch", 3, 4, 4)),
    ],
)
def test_outputs_are_named_by_the_task(tmp_path, task, network, name, shape):
    result = export(network, torch.zeros(1, 3, 4, 4), repository=tmp_path, name="net", task=task)
    (output,) = result.manifest.outputs
    assert (output.name, output.shape) == (name, shape)
    with pytest.raises(LabelsError, match=f"a network for {task} has no classes"):
        export(
            network,
            torch.zeros(1, 3, 4, 4),
            repository=tmp_path,
            name="labelled",
            task=task,
            labels=["a", "b"],
        )


class BranchesOnOddWidths(nn.Module):
    """What the tracer takes for granted of its sample is wrong for every second width."""

    def forward(self, x):
        return x * 2 if x.shape[3] % 2 == 0 else x * 3


class NeedsEvenWidths(nn.Module):
    def forward(self, x):
        return (x.unflatten(3, (-1, 2)).sum(4) * 2).repeat_interleave(2, 3)


@pytest.mark.parametrize("network", [BranchesOnOddWidths, NeedsEvenWidths])
def test_a_network_that_takes_only_some_sizes_is_caught(tmp_path, walk, network):
    with pytest.raises((ParityError, CaptureError)):
        export(
            network(),
            torch.zeros(1, 1, 8, 8),
            repository=tmp_path / "new",
            name="net",
            task="image",
            dynamic_axes=PICTURE,
            min_size=3,
        )
    assert walk(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({}, CaptureError, r"\(batch, classes\) is expected for classification"),
        ({"task": "flow", "output_names": ["a", "b"]}, CaptureError, "a tuple of 2 tensors"),
        ({"task": "flow", "output_names": ["input"]}, CaptureError, "a name of its own"),
        ({"task": "flow", "input_names": ["a", "b"]}, CaptureError, "1 inputs and the names"),
        ({"task": "flow", "dynamic_axes": {0: "rows"}}, CaptureError, "axis 0, are dynamic"),
        ({"task": "flow", "dynamic_axes": {2: "batch"}}, CaptureError, "cannot be called 'batch'"),
        ({"task": "flow", "dynamic_axes": {2: "a"}, "min_size": 30}, CaptureError, "is 20: at lea"),
        ({"task": "flow", "dynamic_axes": [{}, {2: "a"}]}, CaptureError, "2 mappings for 1 inputs"),
        ({"task": "flow", "dynamic_axes": {2: "a", 3: "a"}}, CaptureError, "several sizes"),
        (
            {
                "task": "segmentation",
                "dynamic_axes": PICTURE,
                "preprocessing": PreprocessingRule(
                    None, (20, 24), "bilinear", "RGB", (0.5,) * 3, (0.25,) * 3
                ),
            },
            PreprocessingFitError,
            "every picture 20x24, the network takes any size",
        ),
        (
            {"task": "flow", "dynamic_axes": {1: "channels"}, "preprocessing": PLAIN},
            CaptureError,
            "channels of a picture cannot be dynamic",
        ),
        ({"task": "segmentation", "labels": ["a"]}, LabelsError, "1 labels for 5 classes"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, walk, arguments, error, told):
    with pytest.raises(error, match=told):
        export(
            Segmenter(),
            torch.zeros(1, 3, 20, 24),
            repository=tmp_path / "new",
            name="net",
            **arguments,
        )
    assert walk(tmp_path) == []


def test_pictures_of_different_sizes_are_compared_one_by_one(tmp_path):
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    Image.fromarray(noise[:13, :17]).save(tmp_path / "b.png")
    result = export(
        seeded(Segmenter),
        torch.zeros(1, 3, 20, 24),
        repository=tmp_path / "repository",
        name="net",
        task="segmentation",
        dynamic_axes=PICTURE,
        min_size=4,
        preprocessing=PLAIN,
        parity_images=tmp_path,
        max_batch_size=2,
    )
    cases = result.manifest.parity.cases[-2:]
    assert [(case.source, case.batch_size) for case in cases] == [("2 pictures", 1)] * 2
