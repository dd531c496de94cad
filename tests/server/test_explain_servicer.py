"""ExplainService over real connections, on a network whose gradients are known by hand."""

import grpc
import numpy as np
import pytest
import torch
from onnx import helper
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.server.tiny import FLOAT, Client, graph, status_of

from eyespot.exporter import export
from eyespot.server import spans
from eyespot.v1 import explain_pb2 as pb
from eyespot.v1 import inference_pb2
from eyespot.v1.tensors import encode

LABELS = ["cat", "dog", "door"]
INVALID = grpc.StatusCode.INVALID_ARGUMENT


class Linear(torch.nn.Module):
    """logits = W x: the gradient of a logit is its row of W, whatever the input."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 3, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(torch.arange(24.0).reshape(3, 8) - 12)

    def forward(self, x):
        return self.linear(x.flatten(1))  # (B, 2, 2, 2) -> (B, 8)


WEIGHTS = np.arange(24, dtype=np.float32).reshape(3, 8) - 12


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported")
    export(Linear().eval(), torch.zeros(1, 2, 2, 2), repository=path, name="linear", labels=LABELS)
    return path


@pytest.fixture
async def client(exported, repository, serving):
    (repository.path / "linear").symlink_to(exported / "linear")
    async with serving(settings_calls=True) as (_, client):
        yield client


def _request(rows=2, **fields):
    x = np.random.default_rng(3).standard_normal((rows, 2, 2, 2), np.float32)
    request = pb.ExplainRequest(
        model_name="linear", raw_input_contents=[encode(x, "FP32")], **fields
    )
    request.inputs.add(name="input", datatype="FP32", shape=x.shape)
    return request, x


def _attributions(response):
    (raw,) = response.raw_output_contents
    return np.frombuffer(raw, "<f4").reshape(response.attributions.shape)


async def test_targets_by_index_and_by_label_one_per_row(client: Client):
    request, x = _request(
        id="7", targets=[pb.ExplainTarget(index=2), pb.ExplainTarget(label="dog")]
    )
    response = await client.explain.Explain(request)
    assert (response.model_name, response.model_version, response.id) == ("linear", "1", "7")
    assert response.method == "saliency"
    assert [(row.target, row.label) for row in response.rows] == [(2, "door"), (1, "dog")]
    logits = x.reshape(2, 8) @ WEIGHTS.T
    np.testing.assert_allclose(
        [row.score for row in response.rows], [logits[0, 2], logits[1, 1]], rtol=1e-5
    )
    assert response.attributions.shape == [2, 2, 2, 2]
    np.testing.assert_allclose(_attributions(response).reshape(2, 8), WEIGHTS[[2, 1]], rtol=1e-6)


async def test_one_target_is_for_all_rows_and_none_is_each_rows_top_class(client: Client):
    request, x = _request(rows=3, targets=[pb.ExplainTarget(label="cat")])
    response = await client.explain.Explain(request)
    assert [row.label for row in response.rows] == ["cat"] * 3
    request, x = _request(rows=3)
    response = await client.explain.Explain(request)
    top = (x.reshape(3, 8) @ WEIGHTS.T).argmax(1)
    assert [row.target for row in response.rows] == top.tolist()


async def test_channels_are_reduced_and_scores_chosen(client: Client):
    request, x = _request(
        rows=1,
        targets=[pb.ExplainTarget(index=0)],
        channel_reduction=pb.CHANNEL_REDUCTION_MEAN,
        score=pb.SCORE_PROBABILITY,
    )
    response = await client.explain.Explain(request)
    assert response.attributions.shape == [1, 1, 2, 2]
    exponents = np.exp(x.reshape(8) @ WEIGHTS.T - (x.reshape(8) @ WEIGHTS.T).max())
    probabilities = exponents / exponents.sum()
    assert response.rows[0].score == pytest.approx(probabilities[0], abs=1e-6)
    gradient = probabilities[0] * (WEIGHTS[0] - probabilities @ WEIGHTS)
    expected = gradient.reshape(2, 2, 2).mean(0)
    np.testing.assert_allclose(_attributions(response)[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"targets": [pb.ExplainTarget(label="dogg")]}, "no label 'dogg'; the nearest is 'dog'"),
        (
            {"targets": [pb.ExplainTarget(label="xyzzy")]},
            "no label 'xyzzy'; its 3 labels are 'cat', 'dog', 'door'$",
        ),
        ({"targets": [pb.ExplainTarget(index=3)]}, "3 is out of range .*from 0 to 2"),
        ({"targets": [pb.ExplainTarget(index=-1)]}, "-1 is out of range .*expected from 0 to 2$"),
        ({"targets": [pb.ExplainTarget()]}, "a target is empty"),
        (
            {"targets": [pb.ExplainTarget(index=0)] * 3},
            "expected one target for each of 2 rows, found 3",
        ),
        ({"method": "salience"}, "'salience'.*'saliency'"),
        ({"score": 99}, "score 99 is unknown; expected logit, probability"),
        ({"channel_reduction": 9}, "channel_reduction 9 is unknown; expected none, max, mean"),
    ],
)
async def test_what_cannot_be_is_invalid(client: Client, fields, expected):
    request, _ = _request(**fields)
    code, details = await status_of(client.explain.Explain(request))
    assert code is INVALID
    import re

    assert re.search(expected, details), details


async def test_inputs_are_checked_as_for_inference(client: Client):
    request, _ = _request()
    request.inputs[0].shape[:] = [2, 2, 4]
    code, details = await status_of(client.explain.Explain(request))
    assert code is INVALID
    assert "Expected [-1,2,2,2], got [2,2,4]" in details
    request, _ = _request()
    request.parameters["steps"].int64_param = 3
    code, details = await status_of(client.explain.Explain(request))
    assert code is INVALID
    assert "steps" in details


async def test_methods_are_listed(client: Client):
    response = await client.explain.ListMethods(pb.ListMethodsRequest(model_name="linear"))
    assert response.backend == "torch"
    by_name = {method.name: method for method in response.methods}
    assert by_name["saliency"].available
    assert "2014" in by_name["saliency"].paper


async def test_models_that_cannot_be_explained_list_the_reason(repository, serving):
    repository.add("plain")
    async with serving() as (_, client):
        response = await client.explain.ListMethods(pb.ListMethodsRequest(model_name="plain"))
    assert not any(method.available for method in response.methods)
    reasons = {method.name: method.reason for method in response.methods}
    assert "has no original.pt2" in reasons["saliency"]
    assert "has no original.pt2" in reasons["lrp"]
    assert "needs pictures" in reasons["rise"]  # which could do without one


async def test_pictures_are_explained_without_an_original_where_no_gradients_are_needed(
    repository, serving
):
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]
    pooled = graph(nodes, {"x": (FLOAT, ["batch", 3, 8, 8])}, {"y": (FLOAT, ["batch", 3])})
    repository.add("pooled", pooled, config="max_batch_size: 4\n")
    x = np.arange(192, dtype=np.float32).reshape(1, 3, 8, 8)
    request = pb.ExplainRequest(
        model_name="pooled",
        method="occlusion",
        targets=[pb.ExplainTarget(index=1)],
        raw_input_contents=[encode(x, "FP32")],
    )
    request.inputs.add(name="x", datatype="FP32", shape=x.shape)
    request.parameters["window"].int64_param = 1
    async with serving() as (_, client):
        response = await client.explain.Explain(request)
        listed = await client.explain.ListMethods(pb.ListMethodsRequest(model_name="pooled"))
        request.method = "saliency"
        code, details = await status_of(client.explain.Explain(request))
    # Without a pixel the mean of its channel falls by a 64th of it.
    np.testing.assert_allclose(_attributions(response)[0, 0], x[0, 1] / 64, rtol=1e-4)
    available = {method.name for method in listed.methods if method.available}
    assert available == {"occlusion", "rise"}
    assert listed.backend == "onnxruntime"
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "no original.pt2" in details


async def test_what_takes_long_at_the_start_is_said_before_it_begins(
    exported, repository, serving, monkeypatch, caplog
):
    (repository.path / "linear").symlink_to(exported / "linear")
    from eyespot.server import explainer

    load, told = explainer.load_original, []

    def noting(*arguments, **options):
        told.extend(caplog.messages)
        return load(*arguments, **options)

    monkeypatch.setattr(explainer, "load_original", noting)
    with caplog.at_level("INFO", "eyespot.server"):
        async with serving():
            pass
    answers = "model 'linear' version 1 is ready"
    loads = "loading the original that explains model 'linear' version 1; it answers meanwhile"
    assert told.index(answers) < told.index(loads)
    assert "model 'linear' version 1 is explained by torch" in caplog.messages


async def test_explain_can_be_switched_off(exported, repository, serving):
    (repository.path / "linear").symlink_to(exported / "linear")
    async with serving(explain="off") as (_, client):
        code, details = await status_of(client.explain.Explain(_request()[0]))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "explain off" in details


async def test_without_torch_inference_goes_on(exported, repository, serving, monkeypatch):
    (repository.path / "linear").symlink_to(exported / "linear")
    from eyespot.server import explainer
    from eyespot.server.errors import ExplainUnavailableError

    def without_torch(*_, **__):
        raise ExplainUnavailableError("saliency needs PyTorch: pip install 'eyespot[explain]'")

    monkeypatch.setattr(explainer, "load_original", without_torch)
    async with serving() as (_, client):
        request, x = _request()
        code, details = await status_of(client.explain.Explain(request))
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert "pip install 'eyespot[explain]'" in details
        answer = await client.infer("linear", input=x)
        np.testing.assert_allclose(answer["logits"], x.reshape(2, 8) @ WEIGHTS.T, rtol=1e-5)


async def test_calls_are_counted_and_traced(client: Client, monkeypatch):
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(spans, "_processor", lambda endpoint: SimpleSpanProcessor(exporter))
    setting = inference_pb2.TraceSettingRequest()
    setting.settings["trace_level"].value.append("TIMESTAMPS")
    await client.inference.TraceSetting(setting)
    request, _ = _request()
    await client.explain.Explain(request)
    assert [part async for part in client.explain.ExplainStream(request)]
    request.method = "nix"
    await status_of(client.explain.Explain(request))
    asked = inference_pb2.ModelStatisticsRequest(name="linear")
    (counted,) = (await client.inference.ModelStatistics(asked)).model_stats
    histograms = {each.name: sum(each.counts) for each in counted.histograms}
    assert histograms["explain_seconds"] == 2  # the one that was refused took no time
    assert (counted.explain_success.count, counted.explain_fail.count) == (2, 0)
    assert counted.explain_success.ns > 0
    names = [span.name.rpartition("/")[2] for span in exporter.get_finished_spans()]
    assert names == [
        *("dataplane", "servicer", "explainer", "Explain"),
        *("dataplane", "servicer", "explainer", "ExplainStream"),
        *("dataplane", "Explain"),
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
async def test_numbers_without_a_gradient_are_refused(client: Client, value):
    request, x = _request()
    x[1, 0, 0, 0] = value
    request.raw_input_contents[0] = encode(x, "FP32")
    code, details = await status_of(client.explain.Explain(request))
    assert (code, "NaN or infinite" in details) == (INVALID, True)
