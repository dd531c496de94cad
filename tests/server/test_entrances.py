"""`<name>_image`: encoded pictures in place of pixels, in the same batches."""

import asyncio
import io

import numpy as np
import onnx
import pytest
from grpc import StatusCode
from onnx import TensorProto, helper
from PIL import ExifTags, Image
from tests.server.tiny import FLOAT, graph, read_outputs, status_of

from eyespot.client import AsyncClient
from eyespot.server import picture_decoding
from eyespot.v1 import explain_pb2, model_config_pb2
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.v1.tensors import encode

RULE = PreprocessingRule(
    resize_size=6,
    crop_size=(4, 4),
    interpolation="bilinear",
    color_order="RGB",
    mean=(0.0,) * 3,
    std=(1.0,) * 3,
)


def pixels_as_numbers(height: "int | str" = 4, width: "int | str" = 4) -> onnx.ModelProto:
    """y = x as float: what the model is given, seen from outside."""
    shape = ["batch", height, width, 3]
    return graph(
        [helper.make_node("Cast", ["x"], ["y"], to=FLOAT)],
        {"x": (TensorProto.UINT8, shape)},
        {"y": (FLOAT, shape)},
    )


def config_of(rule: PreprocessingRule, dims: str = "4, 4, 3", options: str = "") -> str:
    parameters = "\n".join(
        f"parameters {{ key: '{name}' value {{ string_value: '{value}' }} }}"
        for name, value in rule.to_parameters().items()
    )
    return (
        f"max_batch_size: 8\ndynamic_batching {{ {options} }}\n"
        f"input {{ name: 'x' data_type: TYPE_UINT8 dims: [{dims}] format: FORMAT_NHWC }}\n"
        f"output {{ name: 'y' data_type: TYPE_FP32 dims: [{dims}] }}\n{parameters}\n"
    )


def picture(seed: int = 0, size: "tuple[int, int]" = (9, 7)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


def file_of(image: Image.Image, format: str = "PNG", **options: object) -> bytes:  # noqa: A002
    written = io.BytesIO()
    image.save(written, format, **options)
    return written.getvalue()


def image_request(model_name: str, *files: bytes) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model_name)
    request.inputs.add(name="image", datatype="BYTES", shape=(len(files), 1))
    request.raw_input_contents.append(encode(np.array(files, object), "BYTES"))
    return request


@pytest.fixture
def seeing(repository):
    repository.add("seeing", pixels_as_numbers(), config=config_of(RULE))
    return repository


async def test_pictures_of_each_format_become_what_the_rule_makes_of_them(seeing, serving):
    files = [
        file_of(picture(1), "JPEG", quality=95),
        file_of(picture(2), "PNG"),
        file_of(picture(3), "WEBP"),
        file_of(picture(4).convert("L"), "JPEG"),
        file_of(picture(5).convert("CMYK"), "JPEG"),
        file_of(picture(6).quantize(8), "PNG"),
    ]
    async with serving() as (_, client):
        request = image_request("seeing_image", *files)
        answer = await client.inference.ModelInfer(request)
        request.inputs[0].shape[:] = [len(files)]  # as tritonclient's users write a list, too
        flat = await client.inference.ModelInfer(request)
        assert flat == answer
        request.inputs[0].shape[:] = []
        _, told = await status_of(client.inference.ModelInfer(request))
        assert "Expected [-1,1], got []" in told
    seen = read_outputs(answer)["y"]
    expected = [RULE.apply(Image.open(io.BytesIO(each))) for each in files]
    assert answer.model_name == "seeing_image"
    np.testing.assert_array_equal(seen, np.stack(expected))


async def test_a_picture_is_turned_as_its_exif_says(seeing, serving):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # the camera was held upright: turn clockwise
    lying = picture()
    file = file_of(lying, "PNG", exif=exif)
    async with serving() as (_, client):
        seen = read_outputs(await client.inference.ModelInfer(image_request("seeing_image", file)))
    upright = lying.transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(seen["y"][0], RULE.apply(upright))


async def test_it_describes_itself_as_a_model_of_one_input(seeing, serving):
    async with serving() as (_, client):
        ask = client.inference
        told = await ask.ModelMetadata(pb.ModelMetadataRequest(name="seeing_image"))
        plain = (await ask.ModelConfig(pb.ModelConfigRequest(name="seeing"))).config
        config = (await ask.ModelConfig(pb.ModelConfigRequest(name="seeing_image"))).config
        is_ready = await ask.ModelReady(pb.ModelReadyRequest(name="seeing_image"))
        other = await ask.ModelReady(pb.ModelReadyRequest(name="blind_image"))
    (given,) = told.inputs
    assert (told.name, given.name, given.datatype, list(given.shape)) == (
        "seeing_image",
        "image",
        "BYTES",
        [-1, 1],
    )
    assert [output.name for output in told.outputs] == ["y"]
    assert plain.parameters["image_endpoint"].string_value == "seeing_image"
    assert plain.parameters["image_formats"].string_value == "JPEG,PNG,WEBP"
    assert config.input[0].data_type == model_config_pb2.TYPE_STRING
    assert config.name == "seeing_image"
    assert not [name for name in config.parameters if name.startswith(("pre", "image_"))]
    assert is_ready.ready
    assert not other.ready


async def test_the_index_tells_the_name_and_our_client_counts_models(seeing, serving):
    seeing.add("blind")
    async with serving() as (server, client):
        index = await client.inference.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))
        async with AsyncClient(server.address) as ours:
            models = await ours.repository_index()
    told = [(model.name, model.version, model.takes_pictures_for) for model in index.models]
    assert told == [("blind", "1", ""), ("seeing", "1", ""), ("seeing_image", "1", "seeing")]
    assert {model.state for model in index.models} == {"READY"}
    assert [model.name for model in models] == ["blind", "seeing"]


async def test_pictures_and_pixels_share_a_batch(repository, serving):
    waits = "max_queue_delay_microseconds: 60000000 preferred_batch_size: [2]"
    repository.add("seeing", pixels_as_numbers(), config=config_of(RULE, options=waits))
    row = RULE.apply(picture(1))[np.newaxis]
    async with serving() as (_, client):
        pixels, pictures = await asyncio.gather(
            client.infer("seeing", x=row),
            client.inference.ModelInfer(image_request("seeing_image", file_of(picture(1)))),
        )
        asked = pb.ModelStatisticsRequest(name="seeing_image")
        (told,) = (await client.inference.ModelStatistics(asked)).model_stats
    np.testing.assert_array_equal(pixels["y"], read_outputs(pictures)["y"])
    assert (told.name, told.inference_count, told.execution_count) == ("seeing_image", 2, 1)


async def test_a_corrupt_picture_fails_its_request_alone_and_the_row_is_named(repository, serving):
    waits = "max_queue_delay_microseconds: 60000000 preferred_batch_size: [2]"
    repository.add("seeing", pixels_as_numbers(), config=config_of(RULE, options=waits))
    whole = file_of(picture(size=(64, 64)), "JPEG")
    async with serving() as (_, client):
        neighbour = asyncio.ensure_future(
            client.inference.ModelInfer(image_request("seeing_image", whole, whole))
        )
        request = image_request("seeing_image", whole, whole, whole[:700], b"GIF89a")
        status, message = await status_of(client.inference.ModelInfer(request))
        assert (await neighbour).outputs[0].shape[0] == 2
    assert status is StatusCode.INVALID_ARGUMENT
    assert "row 2 of input 'image' for model 'seeing_image'" in message
    assert "truncated" in message


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (b"", "it is empty"),
        (b"GIF89a...", "it is no JPEG, PNG or WEBP: it begins with b'GIF8'"),
        (file_of(picture())[:40], "row 0"),
        (b"\xff\xd8\xff" + bytes(50), "row 0"),
    ],
)
async def test_what_is_no_picture_is_refused(seeing, serving, file, expected):
    async with serving() as (_, client):
        told = await status_of(client.inference.ModelInfer(image_request("seeing_image", file)))
    assert told[0] is StatusCode.INVALID_ARGUMENT
    assert expected in told[1]


async def test_bombs_are_refused_by_their_header(seeing, serving, monkeypatch):
    bomb = file_of(Image.new("1", (9, 8)))
    monkeypatch.setattr("eyespot.v1.picture_files.MOST_PIXELS", 8 * 8)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("its pixels were read"))
    async with serving() as (_, client):
        told = await status_of(client.inference.ModelInfer(image_request("seeing_image", bomb)))
    assert told[0] is StatusCode.INVALID_ARGUMENT
    assert "announces 9 x 8 pixels" in told[1]


async def test_a_line_that_the_rule_makes_a_bomb_of_is_refused(seeing, serving):
    line = file_of(Image.new("1", (1, 1_900_000)))
    async with serving() as (_, client):
        told = await status_of(client.inference.ModelInfer(image_request("seeing_image", line)))
    assert told[0] is StatusCode.INVALID_ARGUMENT
    assert "becomes 6 x 11400000 by the rule; at most 64 megapixels" in told[1]


async def test_rows_of_several_sizes_are_refused(repository, serving):
    rule = PreprocessingRule(None, None, "bilinear", "RGB", (0.0,) * 3, (1.0,) * 3)
    model = pixels_as_numbers("height", "width")
    repository.add("free", model, config=config_of(rule, dims="-1, -1, 3"))
    files = file_of(picture(size=(3, 2))), file_of(picture(size=(2, 3)))
    async with serving() as (_, client):
        told = await status_of(client.inference.ModelInfer(image_request("free_image", *files)))
        alone = await client.inference.ModelInfer(image_request("free_image", files[0]))
    assert "have the sizes 3x2, 2x3 by the model's rule" in told[1]
    assert list(alone.outputs[0].shape) == [1, 2, 3, 3]


async def test_the_pixels_of_a_request_are_bounded(repository, serving):
    rule = PreprocessingRule(None, None, "bilinear", "RGB", (0.0,) * 3, (1.0,) * 3)
    model = pixels_as_numbers("height", "width")
    repository.add("free", model, config=config_of(rule, dims="-1, -1, 3"))
    black = file_of(Image.new("RGB", (500, 400)))  # 600,000 bytes of pixels, 2 of them 1.1 MiB
    async with serving(max_request_mib=1) as (_, client):
        told = await status_of(
            client.inference.ModelInfer(image_request("free_image", *[black] * 2))
        )
    assert told[0] is StatusCode.INVALID_ARGUMENT
    assert "row 0" in told[1]


async def test_a_model_without_a_rule_says_why_it_takes_no_pictures(repository, serving):
    repository.add("numbers")
    wrong = config_of(RULE, dims="5, 5, 3")
    repository.add("other", pixels_as_numbers("height", "width"), config=wrong)
    async with serving() as (_, client):
        for name, reason in {
            "numbers_image": "model 'numbers' takes no encoded pictures: its configuration tells",
            "other_image": "its rule gives batches of UINT8 [-1, 4, 4, 3]",
            "nobody_image": "'nobody_image' is not found; the models are",
        }.items():
            told = await status_of(client.inference.ModelInfer(image_request(name, b"")))
            assert told[0] is StatusCode.NOT_FOUND
            assert reason in told[1]


async def test_a_model_that_bears_the_name_is_served_as_it_is(seeing, serving):
    seeing.add("seeing_image")
    async with serving() as (_, client):
        answer = await client.infer("seeing_image", x=np.float32([[1, 2, 3, 4]]))
        plain = await client.inference.ModelConfig(pb.ModelConfigRequest(name="seeing"))
    assert answer["y"].tolist() == [[3, 5, 7, 9]]
    assert "image_endpoint" not in plain.config.parameters


async def test_pictures_can_be_switched_off(seeing, serving):
    async with serving(decode_images=False) as (_, client):
        told = await status_of(client.inference.ModelInfer(image_request("seeing_image", b"")))
        plain = await client.inference.ModelConfig(pb.ModelConfigRequest(name="seeing"))
    assert told[0] is StatusCode.NOT_FOUND
    assert "image_endpoint" not in plain.config.parameters


async def test_more_requests_than_may_wait_are_refused():
    decoder = picture_decoding.PictureDecoder(most_requests=1, most_bytes=1 << 20)
    file = file_of(picture())
    first, second = await asyncio.gather(
        *(decoder.decode([file], RULE, what="input") for _ in range(2)), return_exceptions=True
    )
    decoder.close()
    np.testing.assert_array_equal(first[0], RULE.apply(picture()))
    assert "no more may" in str(second)


async def test_pictures_are_decoded_beside_the_event_loop(monkeypatch):
    decoder = picture_decoding.PictureDecoder(most_requests=8, most_bytes=1 << 20)
    threads = []

    def decode(file, rule):
        import threading

        threads.append(threading.current_thread().name)
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(picture_decoding, "decode_picture", decode)
    pixels = await decoder.decode([b""] * 5, RULE, what="input")
    decoder.close()
    assert pixels.shape == (5, 1, 1, 3)
    assert len(threads) == 5
    assert all(name.startswith("pictures") for name in threads)


async def test_a_picture_is_explained_like_its_pixels(repository, serving):
    model = graph(
        [
            helper.make_node("Cast", ["x"], ["numbers"], to=FLOAT),
            helper.make_node("ReduceSum", ["numbers", "plane"], ["y"], keepdims=0),
        ],
        {"x": (TensorProto.UINT8, ["batch", 4, 4, 3])},
        {"y": (FLOAT, ["batch", 3])},
        {"plane": np.int64([1, 2])},
    )
    config = config_of(RULE).replace("TYPE_FP32 dims: [4, 4, 3]", "TYPE_FP32 dims: [3]")
    repository.add("colours", model, config=config)
    pixels = RULE.apply(picture())[np.newaxis]
    asked = {"method": "occlusion", "targets": [explain_pb2.ExplainTarget(index=1)]}
    by_pixels = explain_pb2.ExplainRequest(model_name="colours", **asked)
    by_pixels.inputs.add(name="x", datatype="UINT8", shape=pixels.shape)
    by_pixels.raw_input_contents.append(encode(pixels, "UINT8"))
    by_file = explain_pb2.ExplainRequest(model_name="colours_image", **asked)
    by_file.inputs.add(name="image", datatype="BYTES", shape=(1, 1))
    file = np.array([file_of(picture())], object)
    by_file.raw_input_contents.append(encode(file, "BYTES"))
    async with serving() as (_, client):
        first = await client.explain.Explain(by_pixels)
        second = await client.explain.Explain(by_file)
        listed = await client.explain.ListMethods(
            explain_pb2.ListMethodsRequest(model_name="colours_image")
        )
    assert second.model_name == listed.model_name == "colours_image"
    assert list(second.attributions.shape) == [1, 4, 4, 1]
    assert second.raw_output_contents == first.raw_output_contents
    assert any(second.raw_output_contents[0])
