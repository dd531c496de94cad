"""Explaining over real connections: streams, targets of every kind, PNGs, many callers."""

import asyncio
import io

import grpc
import numpy as np
import pytest
import torch
from PIL import Image
from tests.server.tiny import Client, infer_request, read_outputs, status_of
from torch import nn

from eyespot.exporter import export
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.server.explainer import SessionScorer
from eyespot.v1 import explain_pb2 as pb
from eyespot.v1.tensors import encode


class Small(nn.Module):
    """Pictures of 12 x 12 to four classes."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.head(x.mean((2, 3)))


LABELS = ["cat", "dog", "door", "tree"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported")
    for name, seed in (("small", 0), ("other", 1)):
        module = Small(seed).eval()
        export(module, torch.zeros(1, 3, 12, 12), repository=path, name=name, labels=LABELS)
    return path


@pytest.fixture
async def client(exported, repository, serving):
    for name in ("small", "other"):
        (repository.path / name).symlink_to(exported / name)
    async with serving() as (_, client):
        yield client


def asking(rows=2, model="small", seed=3, parameters=None, **fields):
    x = np.random.default_rng(seed).standard_normal((rows, 3, 12, 12), np.float32)
    request = pb.ExplainRequest(model_name=model, raw_input_contents=[encode(x, "FP32")], **fields)
    request.inputs.add(name="input", datatype="FP32", shape=x.shape)
    for name, value in (parameters or {}).items():
        kind = {int: "int64_param", float: "double_param", str: "string_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    return request, x


def attributions(response):
    (raw,) = response.raw_output_contents
    return np.frombuffer(raw, "<f4").reshape(response.attributions.shape)


async def test_partial_answers_come_with_progress_and_end_in_the_whole(client: Client):
    request, _ = asking(method="integrated_gradients", parameters={"n_steps": 64})
    answers = [answer async for answer in client.explain.ExplainStream(request)]
    progress = [answer.progress for answer in answers]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert len(answers) > 1
    whole = attributions(await client.explain.Explain(request))
    np.testing.assert_allclose(attributions(answers[-1].explain_response), whole, rtol=1e-5)
    early = attributions(answers[0].explain_response)
    assert np.corrcoef(early.ravel(), whole.ravel())[0, 1] > 0.9
    assert "convergence_delta" in answers[-1].explain_response.rows[0].reports


async def test_a_stream_of_the_impossible_fails_as_a_call_does(client: Client):
    request, _ = asking(method="integrated_gradients", parameters={"n_steps": 0})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in client.explain.ExplainStream(request):
            pass
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "'n_steps' is 0, expected 1 to 1000" in caught.value.details()


class Steps:
    """Counts what the saliency of all models computes, step by step."""

    def __init__(self, monkeypatch):
        self.count = 0
        self.some = asyncio.Event()  # three of them were taken
        self._loop = asyncio.get_running_loop()
        for kind, name in ((SessionScorer, "scores"), (TorchBackend, "gradients")):
            monkeypatch.setattr(kind, name, self._counted(getattr(kind, name)))

    def _counted(self, compute):
        def counted(*args, **kwargs):
            self.count += 1
            if self.count == 3:
                self._loop.call_soon_threadsafe(self.some.set)
            return compute(*args, **kwargs)

        return counted

    async def until_nothing_runs(self, client):
        """Ask quick questions until three in a row were all that was computed.

        A call of many steps takes turns with them on the one thread: while one lives, three
        of them cannot pass without a step of it.
        """
        alone = 0
        for _ in range(200):
            before = self.count
            await client.explain.Explain(asking(rows=1)[0], timeout=60)
            alone = alone + 1 if self.count == before + 1 else 0
            if alone == 3:
                return
        raise AssertionError("something is still computed that nobody waits for")


@pytest.fixture
async def steps(monkeypatch):
    return Steps(monkeypatch)


ENDLESS = {"method": "rise", "parameters": {"n_masks": 100_000}}  # 6,250 steps for each row


@pytest.mark.parametrize("way", ["cancelled", "expired", "left"])
async def test_who_goes_away_costs_no_more(client: Client, steps, way):
    request, _ = asking(rows=8, **ENDLESS)
    if way == "expired":
        code, _ = await status_of(client.explain.Explain(request, timeout=0.2))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    elif way == "cancelled":
        call = client.explain.Explain(request)
        await steps.some.wait()
        call.cancel()
    else:
        stream = client.explain.ExplainStream(request)
        await stream.read()
        stream.cancel()
    await steps.until_nothing_runs(client)


async def test_top_classes_share_a_request(client: Client):
    request, x = asking(rows=2, targets_per_row=3)
    response = await client.explain.Explain(request)
    logits = (await client.infer("small", input=x))["logits"]
    expected = np.argsort(-logits, axis=1)[:, :3]
    assert [row.target for row in response.rows] == expected.ravel().tolist()
    assert [row.row for row in response.rows] == [0, 0, 0, 1, 1, 1]
    assert response.attributions.shape == [6, 3, 12, 12]
    alone, _ = asking(rows=2, targets=[pb.ExplainTarget(index=c) for c in expected[:, 1]])
    np.testing.assert_allclose(
        attributions(response)[[1, 4]], attributions(await client.explain.Explain(alone)), rtol=1e-4
    )


async def test_a_contrast_is_a_difference(client: Client):
    contrast = [pb.ExplainTarget(label="cat", against_label="dog")]
    request, x = asking(targets=contrast)
    response = await client.explain.Explain(request)
    logits = (await client.infer("small", input=x))["logits"]
    np.testing.assert_allclose(
        [row.score for row in response.rows], logits[:, 0] - logits[:, 1], rtol=1e-4
    )


async def test_an_embedding_is_compared_with(client: Client):
    request, x = asking(targets=[pb.ExplainTarget(embedding=[1, 0, 0, 0])])
    response = await client.explain.Explain(request)
    logits = (await client.infer("small", input=x))["logits"]
    cosine = logits[:, 0] / np.linalg.norm(logits, axis=1)
    np.testing.assert_allclose([row.score for row in response.rows], cosine, rtol=1e-4)
    assert [(row.target, row.label) for row in response.rows] == [(-1, ""), (-1, "")]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([pb.ExplainTarget(index=0, step=1)], "a step belongs to a sequence"),
        ([pb.ExplainTarget(index=0, region=b"\1", region_shape=[1, 1])], "a region belongs to a"),
        ([pb.ExplainTarget(index=0, region=b"\1\1", region_shape=[1, 1])], "2 bytes has region_sh"),
        ([pb.ExplainTarget(embedding=[1, 0])], r"of shape \[2\], expected \[4\]"),
        ([pb.ExplainTarget(index=0, embedding=[1, 0])], "a class or an embedding, found both"),
        ([pb.ExplainTarget(index=0, against_index=9)], "9 is out of range"),
        ([pb.ExplainTarget(index=0, against_index=1), pb.ExplainTarget(index=0)], "1 of 2 targets"),
    ],
)
async def test_impossible_targets_are_invalid(client: Client, targets, expected):
    code, details = await status_of(client.explain.Explain(asking(targets=targets)[0]))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    import re

    assert re.search(expected, details), details


async def test_a_png_has_the_map_and_its_range(client: Client):
    fields = {"method": "grad_cam", "encoding": pb.ATTRIBUTION_ENCODING_PNG}
    response = await client.explain.Explain(asking(**fields)[0])
    assert not response.raw_output_contents
    raw = attributions(await client.explain.Explain(asking(method="grad_cam")[0]))[:, 0]
    for row, expected in zip(response.rows, raw, strict=True):
        levels = np.asarray(Image.open(io.BytesIO(row.png)))
        assert levels.dtype == np.uint8
        restored = row.minimum + levels / 255 * (row.maximum - row.minimum)
        np.testing.assert_allclose(restored, expected, atol=(row.maximum - row.minimum) / 500)
    code, details = await status_of(
        client.explain.Explain(asking(encoding=pb.ATTRIBUTION_ENCODING_PNG)[0])
    )
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "ask for a channel reduction" in details


async def test_methods_tell_costs_choices_and_layers(client: Client):
    response = await client.explain.ListMethods(pb.ListMethodsRequest(model_name="small"))
    methods = {method.name: method for method in response.methods}
    assert all(method.available for method in methods.values())
    assert methods["integrated_gradients"].forward_passes == 152
    assert methods["integrated_gradients"].scales_with == "n_steps"
    assert list(methods["saliency"].parameters[0].choices) == ["none", "guided", "relu"]
    (default,) = [layer for layer in response.layers if layer.is_default]
    assert list(default.shape) == [6, 12, 12]


async def test_saliency_comes_beside_the_logits(client: Client):
    request, x = asking(rows=3)
    expected = attributions(await client.explain.Explain(request))
    inference = infer_request("small", input=x)
    inference.outputs.add(name="logits")
    inference.outputs.add(name="saliency")
    answer = read_outputs(await client.inference.ModelInfer(inference))
    np.testing.assert_allclose(answer["saliency"], expected, rtol=1e-4, atol=1e-7)
    assert answer["logits"].shape == (3, 4)


async def test_an_unknown_output_is_told_of_saliency_too(client: Client):
    _, x = asking(rows=1)
    inference = infer_request("small", input=x)
    inference.outputs.add(name="heat")
    code, details = await status_of(client.inference.ModelInfer(inference))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.endswith("it has 'logits', 'saliency'")


async def test_the_output_saliency_takes_method_target_and_parameters(client: Client):
    _, x = asking(rows=1)
    inference = infer_request("small", input=x)
    output = inference.outputs.add(name="saliency")
    output.parameters["method"].string_param = "occlusion"
    output.parameters["target"].string_param = "dog"
    output.parameters["window"].int64_param = 6
    answer = read_outputs(await client.inference.ModelInfer(inference))
    assert list(answer) == ["saliency"]
    request, _ = asking(
        1, method="occlusion", parameters={"window": 6}, targets=[pb.ExplainTarget(index=1)]
    )
    expected = attributions(await client.explain.Explain(request))
    np.testing.assert_allclose(answer["saliency"], expected, rtol=1e-4)
    output.parameters["window"].int64_param = -1
    code, _ = await status_of(client.inference.ModelInfer(inference))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


KINDS = [
    {"method": "saliency"},
    {"method": "grad_cam", "targets": [pb.ExplainTarget(index=1)]},
    {"method": "guided_backprop", "score": pb.SCORE_PROBABILITY},
    {"method": "smooth_grad", "parameters": {"n_samples": 5}},
    {"method": "integrated_gradients", "parameters": {"n_steps": 5}},
    {"method": "occlusion", "parameters": {"window": 6}},
    {"method": "rise", "parameters": {"n_masks": 20}},
    {"method": "lrp", "targets": [pb.ExplainTarget(index=2, against_index=0)]},
]


async def test_sixteen_clients_get_what_each_would_get_alone(client: Client, steps):
    requests = [
        asking(1 + index % 3, ("small", "other")[index % 2], index, **KINDS[index // 2])[0]
        for index in range(16)
    ]
    alone = [await client.explain.Explain(request) for request in requests]
    # Beside them ask some who will not wait: they change nothing, and then cost nothing.
    leaving = [client.explain.Explain(asking(2, seed=seed, **ENDLESS)[0]) for seed in range(3)]
    expiring = [
        asyncio.ensure_future(
            status_of(client.explain.Explain(asking(2, "other", **ENDLESS)[0], timeout=0.2))
        )
    ]
    answers = [asyncio.ensure_future(_answer(client, request)) for request in requests * 2]
    await answers[0]
    for call in leaving:
        call.cancel()
    together = await asyncio.gather(*answers)
    for found, expected in zip(together, alone * 2, strict=True):
        scale = np.abs(attributions(expected)).max()
        np.testing.assert_allclose(
            attributions(found), attributions(expected), rtol=0, atol=1e-5 * scale
        )
        assert [row.target for row in found.rows] == [row.target for row in expected.rows]
        np.testing.assert_allclose(
            [row.score for row in found.rows], [row.score for row in expected.rows], rtol=1e-5
        )
    assert [code for code, _ in await asyncio.gather(*expiring)] == [
        grpc.StatusCode.DEADLINE_EXCEEDED
    ]
    await steps.until_nothing_runs(client)


async def _answer(client, request):
    return await client.explain.Explain(request)


async def test_callers_who_ask_for_the_same_share_steps(client: Client, steps):
    kind = {"method": "integrated_gradients", "parameters": {"n_steps": 2}}
    requests = [asking(1, seed=seed, **kind)[0] for seed in range(8)]
    alone = [attributions(await client.explain.Explain(request)) for request in requests]
    taken, steps.count = steps.count, 0
    together = await asyncio.gather(*(_answer(client, request) for request in requests))
    assert taken == 8  # 2 rows each: one step for each caller
    assert steps.count <= 4  # 16 rows: one step, and what had begun when the others came
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(
            attributions(found), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
        )


BAD = {
    "an unknown method": ({"method": "grad_cam_pp"}, "did you mean 'grad_cam"),
    "no such class": ({"targets": [pb.ExplainTarget(index=4)]}, "expected from 0 to 3"),
    "no such label": ({"targets": [pb.ExplainTarget(label="cst")]}, "the nearest is 'cat'"),
    "no such layer": (
        {"method": "grad_cam", "parameters": {"layer": "relu_2"}},
        "did you mean 'relu_1'",
    ),
    "a parameter of another type": (
        {"method": "smooth_grad", "parameters": {"n_samples": "many"}},
        "'n_samples' expects int64, found 'many'",
    ),
    "a parameter out of range": (
        {"method": "smooth_grad", "parameters": {"noise_level": -0.5}},
        "'noise_level' is -0.5, expected 0 to 10",
    ),
    "an unknown parameter": (
        {"method": "rise", "parameters": {"masks": 5}},
        "did you mean 'n_masks'",
    ),
}


@pytest.mark.parametrize("what", [*BAD, "input that is not finite"])
async def test_bad_input_is_typed_and_poisons_nothing(client: Client, what):
    fields, said = BAD.get(what, ({}, "NaN or infinite"))
    bad, x = asking(1, **fields)
    if what == "input that is not finite":
        x[0, 0, 0, 0] = np.nan
        bad.raw_input_contents[0] = encode(x, "FP32")
    good, _ = asking(1, method=fields.get("method", "saliency"))
    good.method = "saliency" if good.method == "grad_cam_pp" else good.method
    alone = attributions(await client.explain.Explain(good))
    (code, details), beside = await asyncio.gather(
        status_of(client.explain.Explain(bad)), _answer(client, good)
    )
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert said in details
    np.testing.assert_allclose(attributions(beside), alone, rtol=1e-5)


async def test_what_cannot_fit_says_so_and_is_served_all_the_same(repository, serving):
    sample = torch.zeros(1, 3, 160, 160)
    export(Small().eval(), sample, repository=repository.path, name="small", labels=LABELS)
    async with serving(explain_memory_mib=1) as (_, client):
        x = np.zeros((1, 3, 160, 160), np.float32)
        assert (await client.infer("small", input=x))["logits"].shape == (1, 4)
        request, _ = asking(1)
        request.inputs[0].shape[:] = x.shape
        request.raw_input_contents[0] = encode(x, "FP32")
        code, details = await status_of(client.explain.Explain(request))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "--explain-memory-mib" in details
