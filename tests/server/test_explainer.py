import asyncio
import dataclasses
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from eyespot.saliency import Gradients
from eyespot.server.errors import (
    DeadlineExceededError,
    DrainingError,
    ExplainUnavailableError,
    InvalidArgumentError,
    NotExplainableError,
    QueueFullError,
)
from eyespot.server.explainer import ExplainCall, Explainer
from eyespot.v1.manifest import Manifest, ParityReport, Provenance, TensorSpec

# (K, C, L): two classes on two channels of three elements
WEIGHT = np.array(
    [[[1, -2, 3], [-4, 1, 0]], [[0, 0, 1], [2, -1, -1]]],
    np.float32,
)
ROW = np.ones((1, 2, 3), np.float32)  # logits -1 and 1


class LinearBackend:
    """z = W x in numpy; waits at `gate` and records the rows of each batch."""

    name = "numpy"
    classes = 2

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.batches = []
        self.fails_on = None

    def scores(self, x):
        return np.einsum("bcl,kcl->bk", x, WEIGHT).astype(np.float32)

    def gradients(self, x, targets, *, score):
        self.batches.append(x[:, 0, 0].tolist())
        self.started.release()
        self.gate.wait()
        if self.fails_on in x:
            raise ArithmeticError("no such input")
        logits = self.scores(x)
        targets = np.where(targets == -1, logits.argmax(1), targets)
        scores = logits[np.arange(len(x)), targets]
        return Gradients(logits, targets, scores, WEIGHT[targets])


def manifest(**changes):
    made = Manifest(
        model_name="tiny",
        model_version="1",
        provenance=Provenance(architecture="Tiny"),
        inputs=(TensorSpec("input", "FP32", ("batch", 2, 3)),),
        outputs=(TensorSpec("logits", "FP32", ("batch", 2)),),
        channel_axis=1,
        gradient_node="x",
        preprocessing=None,
        parity=ParityReport(atol=1e-4, rtol=1e-3, cases=()),
        opset_version=18,
        parameter_count=12,
        files={},
        library_versions={},
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def backend():
    return LinearBackend()


@pytest.fixture
def explainer(backend):
    explainer = Explainer(backend, manifest(), max_queue_size=2, max_batch_size=4)
    yield explainer
    backend.gate.set()
    explainer.close()


def call(first=1.0, rows=1, **arguments):
    inputs = np.repeat(ROW, rows, axis=0)
    inputs[:, 0, 0] = first
    return ExplainCall(inputs=inputs, **arguments)


async def begin(backend, explainer, *calls):
    """Start calls while the explainer's thread is held up in an earlier one."""
    backend.gate.clear()
    tasks = [asyncio.create_task(explainer.explain(call(first=0.0)))]
    await asyncio.to_thread(backend.started.acquire)
    tasks += [asyncio.create_task(explainer.explain(each)) for each in calls]
    for _ in range(4):
        await asyncio.sleep(0)
    return tasks


async def test_the_answer_names_targets_scores_and_what_was_used(explainer):
    explained = await explainer.explain(call(rows=2, targets=np.array([0, 1])))
    np.testing.assert_array_equal(explained.attributions, WEIGHT)
    np.testing.assert_array_equal(explained.targets, [0, 1])
    np.testing.assert_array_equal(explained.scores, [-1, 1])
    np.testing.assert_array_equal(explained.logits, [[-1, 1], [-1, 1]])
    assert explained.method == "saliency"
    assert explained.parameters == {}
    assert explained.reports == ({}, {})
    assert explained.compute_ns > 0


async def test_without_targets_each_row_has_its_top_class(explainer):
    explained = await explainer.explain(call())
    np.testing.assert_array_equal(explained.targets, [1])


async def test_one_target_serves_all_rows(explainer):
    explained = await explainer.explain(call(rows=3, targets=np.array([0])))
    np.testing.assert_array_equal(explained.targets, [0, 0, 0])


@pytest.mark.parametrize(
    ("how", "expected"),
    [("none", WEIGHT[0]), ("max", [[4, 2, 3]]), ("mean", [[-1.5, -0.5, 1.5]])],
)
async def test_channels_are_reduced(explainer, how, expected):
    explained = await explainer.explain(call(targets=np.array([0]), channel_reduction=how))
    np.testing.assert_array_equal(explained.attributions, [expected])


async def test_callers_share_a_batch_and_each_gets_its_own(backend, explainer):
    calls = [
        call(first=1.0, targets=np.array([0]), channel_reduction="max"),
        call(first=2.0, rows=2, targets=np.array([1, 0])),
    ]
    tasks = await begin(backend, explainer, *calls)
    backend.gate.set()
    _, first, second = await asyncio.gather(*tasks)
    assert backend.batches == [[0.0], [1.0, 2.0, 2.0]]
    np.testing.assert_array_equal(first.attributions, [[[4, 2, 3]]])
    np.testing.assert_array_equal(second.attributions, WEIGHT[[1, 0]])
    np.testing.assert_array_equal(second.scores, [1, 0])


async def test_other_scores_do_not_join(backend, explainer):
    tasks = await begin(backend, explainer, call(), call(score="probability"))
    backend.gate.set()
    await asyncio.gather(*tasks)
    assert len(backend.batches) == 3


async def test_a_call_larger_than_a_batch_goes_in_parts(backend, explainer):
    targets = np.array([0, 1, 0, 0, 1, 1, 0, 1, 0])
    explained = await explainer.explain(call(rows=9, targets=targets))
    assert [len(batch) for batch in backend.batches] == [4, 4, 1]
    np.testing.assert_array_equal(explained.attributions, WEIGHT[targets])
    np.testing.assert_array_equal(explained.targets, targets)
    assert len(explained.reports) == len(explained.scores) == len(explained.logits) == 9


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"targets": np.array([2])}, "target 2 is out of range.*0 to 1"),
        ({"targets": np.array([-1])}, "target -1 is out of range: expected 0 to 1, or"),
        ({"targets": np.array([0, 1])}, "one target for each of 1 rows, found 2"),
        ({"method": "salienci"}, "did you mean 'saliency'"),
        ({"score": "margin"}, "unknown score 'margin'"),
        ({"channel_reduction": "sum"}, "unknown channel reduction 'sum'"),
        ({"parameters": {"n_steps": 1}}, "no parameter 'n_steps'"),
    ],
)
async def test_the_impossible_is_refused_before_it_is_queued(backend, explainer, wrong, said):
    with pytest.raises(InvalidArgumentError, match=said):
        await explainer.explain(call(**wrong))
    assert backend.batches == []
    await explainer.explain(call())


@pytest.mark.parametrize("value", [np.nan, np.inf])
async def test_input_that_is_not_finite_is_refused(backend, explainer, value):
    with pytest.raises(InvalidArgumentError, match="NaN or infinite"):
        await explainer.explain(call(first=value))
    assert backend.batches == []


async def test_no_rows_are_refused(explainer):
    with pytest.raises(InvalidArgumentError, match="no row"):
        await explainer.explain(ExplainCall(inputs=ROW[:0]))


async def test_no_channels_cannot_be_reduced(backend):
    explainer = Explainer(backend, manifest(channel_axis=None))
    with pytest.raises(InvalidArgumentError, match="needs a channel axis"):
        await explainer.explain(call(channel_reduction="max"))
    explainer.close()


async def test_the_queue_is_bounded(backend, explainer):
    tasks = await begin(backend, explainer, call(), call(), call())
    with pytest.raises(QueueFullError):
        await tasks[3]
    assert explainer.queue_size == 2
    backend.gate.set()
    await asyncio.gather(*tasks[:3])
    await explainer.explain(call())


async def test_the_cancelled_and_expired_are_not_computed(backend, explainer):
    now = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceededError):
        await explainer.explain(call(deadline=now - 1))
    tasks = await begin(backend, explainer, call(first=5.0), call(first=6.0))
    tasks[1].cancel()
    await asyncio.sleep(0)
    backend.gate.set()
    await asyncio.gather(tasks[0], tasks[2])
    assert backend.batches == [[0.0], [6.0]]


async def test_a_call_that_fails_fails_alone(backend, explainer):
    backend.fails_on = 7.0
    tasks = await begin(backend, explainer, call(first=7.0), call(first=8.0))
    backend.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[1], ArithmeticError)
    np.testing.assert_array_equal(answers[2].logits, [[6, 1]])


async def test_the_event_loop_is_free_meanwhile(backend, explainer):
    tasks = await begin(backend, explainer)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not tasks[0].done()  # and here we are
    backend.gate.set()
    await tasks[0]


async def test_drain_answers_what_was_admitted(backend, explainer):
    tasks = await begin(backend, explainer, call())
    drained = asyncio.create_task(explainer.drain())
    await asyncio.sleep(0)
    with pytest.raises(DrainingError):
        await explainer.explain(call())
    assert not drained.done()
    backend.gate.set()
    await drained
    assert all(task.done() for task in tasks)


def test_methods_are_listed(explainer):
    (method,) = explainer.methods()
    assert (method.name, method.available, method.reason) == ("saliency", True, "")
    assert explainer.backend == "numpy"


def test_a_pair_that_agrees_passes(backend, explainer):
    seen = []

    def logits_of(x):
        seen.append(x)
        logits = backend.scores(x)
        return logits + 0.9 * (1e-4 + 1e-3 * np.abs(logits).max())

    explainer.verify(logits_of)
    explainer.verify(logits_of)
    assert seen[0].shape == (2, 2, 3)
    assert seen[0].dtype == np.float32
    assert np.ptp(seen[0]) > 0
    np.testing.assert_array_equal(seen[0], seen[1])


def test_pixels_are_verified_with_pixels(backend):
    made = manifest(inputs=(TensorSpec("image", "UINT8", ("batch", 2, 3)),))
    seen = []

    def logits_of(x):
        seen.append(x)
        return backend.scores(x)

    explainer = Explainer(backend, made)
    explainer.verify(logits_of)
    assert seen[0].dtype == np.uint8
    assert seen[0].max() > 1


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (lambda logits: logits + 0.5, r"differ by 0\.5, where .* is allowed"),
        (lambda logits: logits * np.nan, "differ by nan"),
        (lambda logits: logits[:, :1], r"its session gives \[2, 1\], its original \[2, 2\]"),
    ],
)
def test_a_pair_that_does_not_agree_is_not_explained(backend, explainer, served, said):
    with pytest.raises(NotExplainableError, match=said):
        explainer.verify(lambda x: served(backend.scores(x)))


def test_an_input_of_unknown_size_is_not_verified(backend):
    made = manifest(inputs=(TensorSpec("input", "FP32", ("batch", 2, "width")),))
    with pytest.raises(NotExplainableError, match="sizes that are not known"):
        Explainer(backend, made).verify(backend.scores)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(WEIGHT.reshape(2, 6)))

    def forward(self, x):
        return x.flatten(1) @ self.weight.T


@pytest.fixture
def original(tmp_path):
    program = torch.export.export(
        Network(), (torch.zeros(2, 2, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    program.example_inputs = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, tmp_path / "original.pt2")
    return tmp_path / "original.pt2"


async def test_an_original_is_loaded_verified_and_explained(original):
    explainer = Explainer.load(original, manifest())
    explainer.verify(LinearBackend().scores)
    explained = await explainer.explain(call(rows=2, targets=np.array([0, 1])))
    np.testing.assert_array_equal(explained.attributions, WEIGHT)
    np.testing.assert_array_equal(explained.scores, [-1, 1])
    assert explainer.backend == "torch"
    await explainer.drain()
    explainer.close()


def test_a_broken_original_is_typed(original):
    original.write_bytes(b"PK")
    with pytest.raises(NotExplainableError, match="'tiny' version 1 cannot be explained"):
        Explainer.load(original, manifest())


def test_a_manifest_without_a_gradient_node_is_typed(original):
    with pytest.raises(NotExplainableError, match="names no gradient_node"):
        Explainer.load(original, manifest(gradient_node=None))


def test_importing_the_explainer_does_not_import_torch():
    code = "import sys, eyespot.server.explainer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_torch_the_extra_is_named(monkeypatch, original):
    monkeypatch.delitem(sys.modules, "eyespot.saliency.torch_backend", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ExplainUnavailableError, match=r"pip install 'eyespot\[explain\]'"):
        Explainer.load(original, manifest())
