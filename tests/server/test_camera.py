"""From a camera's file to the class: the served model against PyTorch behind torchvision."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from PIL import ExifTags, Image, ImageFilter, ImageOps
from tests.server.test_entrances import config_of, image_request
from tests.server.tiny import FLOAT, graph, read_outputs

from eyespot.v1.preprocessing import IMAGENET, PreprocessingRule
from eyespot.zoo.torchvision_models import load_torchvision

PICTURES = 200
RULE = PreprocessingRule(
    resize_size=28,
    crop_size=(24, 24),
    interpolation="bilinear",
    color_order="RGB",
    mean=IMAGENET.mean,
    std=IMAGENET.std,
)


def photograph(seed: int) -> bytes:
    """Soft coloured patches of any size, format and orientation."""
    random = np.random.default_rng(seed)
    width, height = random.integers(24, 96, 2).tolist()
    patches = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
    image = patches.resize((width, height), Image.Resampling.BICUBIC)
    image = image.filter(ImageFilter.UnsharpMask())
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = seed % 9  # 0 is none of the eight
    written = io.BytesIO()
    image.save(written, ("JPEG", "PNG", "WEBP")[seed % 3], quality=90, exif=exif)
    return written.getvalue()


def reference(size: int, crop: "tuple[int, int]") -> "torch.nn.Module":
    load_torchvision()
    from torchvision.transforms import v2

    return v2.Compose([v2.Resize(size, antialias=True), v2.CenterCrop(crop), v2.PILToTensor()])


def upright(file: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")


class Network(torch.nn.Module):
    """A convolution, a rectifier, the mean of each map and ten classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv2d(3, 16, 5, stride=3)
        self.head = torch.nn.Linear(16, 10)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        mean, std = torch.tensor(RULE.mean), torch.tensor(RULE.std)
        x = (pixels / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        x = self.convolution(x).relu().mean((2, 3))  # (B, 3, H, W) -> (B, 16)
        return self.head(x)  # -> (B, 10)


def onnx_of(network: Network) -> "object":
    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    std = np.float32(RULE.std) * 255
    return graph(
        [
            helper.make_node("Cast", ["x"], ["numbers"], to=FLOAT),
            helper.make_node("Sub", ["numbers", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["scaled"]),
            helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node(
                "Conv",
                ["planes", "convolution.weight", "convolution.bias"],
                ["maps"],
                strides=[3, 3],
            ),
            helper.make_node("Relu", ["maps"], ["rectified"]),
            helper.make_node("ReduceMean", ["rectified", "plane"], ["means"], keepdims=0),
            helper.make_node("Gemm", ["means", "head.weight", "head.bias"], ["y"], transB=1),
        ],
        {"x": (TensorProto.UINT8, ["batch", 24, 24, 3])},
        {"y": (FLOAT, ["batch", 10])},
        {
            **weights,
            "mean": np.float32(RULE.mean) * 255,
            "std": std,
            "plane": np.int64([2, 3]),
        },
    )


def test_pixels_are_those_of_torchvision_within_a_grey_level():
    load_torchvision()
    from torchvision.transforms.v2 import functional

    on_pictures = reference(28, (24, 24))
    for seed in range(27):  # each format with each orientation
        image = upright(photograph(seed))
        ours = RULE.apply(Image.open(io.BytesIO(photograph(seed))))
        theirs = on_pictures(image).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(ours, theirs)
        planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        resized = functional.resize(planes, [28], antialias=True)
        on_tensors = functional.center_crop(resized, [24, 24]).permute(1, 2, 0).numpy()
        assert np.abs(ours.astype(int) - on_tensors).mean() < 1


async def test_two_hundred_pictures_are_classified_as_by_pytorch(repository, serving):
    files = [photograph(seed) for seed in range(PICTURES)]
    prepare = reference(28, (24, 24))
    planes = torch.stack([prepare(upright(file)) for file in files])
    network = Network().eval()
    with torch.no_grad():  # centred, so that no class wins always
        network.head.bias -= network(planes).mean(0)
        expected = network(planes).numpy()
    config = config_of(RULE, dims="24, 24, 3")
    config = config.replace("TYPE_FP32 dims: [24, 24, 3]", "TYPE_FP32 dims: [10]")
    repository.add("net", onnx_of(network), config=config)
    served = []
    async with serving() as (_, client):
        for start in range(0, PICTURES, 8):
            request = image_request("net_image", *files[start : start + 8])
            served.append(read_outputs(await client.inference.ModelInfer(request))["y"])
    logits = np.concatenate(served)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert len(set(expected.argmax(1).tolist())) > 3  # they differ, or it would prove nothing
    np.testing.assert_array_equal(logits.argmax(1), expected.argmax(1))


async def test_a_trained_network_says_the_same_of_two_hundred_jpegs(tmp_path, serving, repository):
    folder = Path(os.environ.get("EYESPOT_DATA", "nowhere"))
    checkpoint = folder / "resnet20-12fca82f.th"
    if not checkpoint.is_file():
        pytest.skip("EYESPOT_DATA names no folder with resnet20-12fca82f.th and cifar10/test")
    from eyespot.exporter import export_zoo_model
    from eyespot.zoo import create_model, model_entry

    export_zoo_model("resnet20", repository=repository.path, weights=checkpoint)
    network = create_model("resnet20", weights=checkpoint).eval()
    rule = model_entry("resnet20").preprocessing
    classes = sorted(path for path in (folder / "cifar10" / "test").iterdir() if path.is_dir())
    paths = [path for each in classes for path in sorted(each.glob("*.jpg"))[:20]]
    assert len(paths) == PICTURES
    prepare = reference(32, (32, 32))
    planes = torch.stack([prepare(Image.open(path).convert("RGB")) for path in paths])
    mean, std = torch.tensor(rule.mean), torch.tensor(rule.std)
    with torch.no_grad():
        scaled = (planes / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        expected = network(scaled).argmax(1).numpy()
    served = []
    async with serving(explain="off") as (_, client):
        for start in range(0, PICTURES, 8):
            files = [path.read_bytes() for path in paths[start : start + 8]]
            answer = await client.inference.ModelInfer(image_request("resnet20_image", *files))
            served.append(read_outputs(answer)["logits"].argmax(1))
    np.testing.assert_array_equal(np.concatenate(served), expected)
