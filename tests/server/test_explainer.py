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

from eyespot.saliency import Gradients, LayerError, MemoryBoundError, UnavailableMethodError
from eyespot.server.errors import (
    DeadlineExceededError,
    DrainingError,
    ExplainUnavailableError,
    InvalidArgumentError,
    NotExplainableError,
    QueueFullError,
    ResourceExhaustedError,
    UnavailableError,
)
from eyespot.server.explainer import (
    ExplainCall,
    Explainer,
    SessionScorer,
    Targets,
    load_original,
    verify_original,
)
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
    output_shape = (2,)
    channel_axis = 1

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.batches = []
        self.fails_on = None
        self.most = 2

    def rows_at_once(self, row_shape):
        if row_shape[-1] > 3:
            raise MemoryBoundError("one row takes about 9 MiB")
        return self.most

    def scores(self, x):
        return np.einsum("bcl,kcl->bk", x, WEIGHT).astype(np.float32)

    def gradients(self, x, objective, *, rectifier="derivative", layer=None):
        self.batches.append(x[:, 0, 0].tolist())
        self.started.release()
        self.gate.wait()
        if self.fails_on in x:
            raise ArithmeticError("no such input")
        scored = objective(self.scores(x))
        gradients = np.einsum("nk,kcl->ncl", scored.derivatives, WEIGHT)
        return Gradients(scored.classes, scored.values, gradients, x)

    def layers(self):
        return ()

    def find_layer(self, name):
        raise LayerError("no maps")

    def linear_head(self):
        raise UnavailableMethodError("no head")

    def check_rectifiers(self):
        pass

    def check_multipliers(self):
        raise UnavailableMethodError("deep_lift has no rule for einsum")

    check_relevance = check_multipliers


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
    explainer = Explainer("tiny", backend=backend, max_queue_size=2, max_batch_size=4)
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
    explained = await explainer.explain(call(rows=2, targets=Targets(np.array([0, 1]))))
    np.testing.assert_array_equal(explained.attributions, WEIGHT)
    np.testing.assert_array_equal(explained.targets, [0, 1])
    np.testing.assert_array_equal(explained.scores, [-1, 1])
    assert explained.method == "saliency"
    assert explained.parameters == {"modifier": "none"}
    assert explained.reports == ({}, {})
    assert explained.compute_ns > 0


async def test_without_targets_each_row_has_its_top_class(explainer):
    explained = await explainer.explain(call())
    np.testing.assert_array_equal(explained.targets, [1])


async def test_one_target_serves_all_rows(explainer):
    explained = await explainer.explain(call(rows=3, targets=Targets(np.array([0]))))
    np.testing.assert_array_equal(explained.targets, [0, 0, 0])


@pytest.mark.parametrize(
    ("how", "expected"),
    [("none", WEIGHT[0]), ("max", [[4, 2, 3]]), ("mean", [[-1.5, -0.5, 1.5]])],
)
async def test_channels_are_reduced(explainer, how, expected):
    explained = await explainer.explain(call(targets=Targets(np.array([0])), channel_reduction=how))
    np.testing.assert_array_equal(explained.attributions, [expected])


async def test_callers_share_a_batch_and_each_gets_its_own(backend, explainer):
    calls = [
        call(first=1.0, targets=Targets(np.array([0])), channel_reduction="max"),
        call(first=2.0, rows=2, targets=Targets(np.array([1, 0]))),
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
    explained = await explainer.explain(call(rows=9, targets=Targets(targets)))
    assert [len(batch) for batch in backend.batches] == [4, 4, 1]
    np.testing.assert_array_equal(explained.attributions, WEIGHT[targets])
    np.testing.assert_array_equal(explained.targets, targets)
    assert len(explained.reports) == len(explained.scores) == 9


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"targets": Targets(np.array([2]))}, "target 2 is out of range.*0 to 1"),
        ({"targets": Targets(np.array([-2]))}, "target -2 is out of range: expected 0 to 1"),
        ({"targets": Targets(np.array([0, 1]))}, "expected one target for each of 1 rows, found 2"),
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
    backend.channel_axis = None
    explainer = Explainer("tiny", backend=backend)
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
    np.testing.assert_array_equal(answers[2].scores, [6])


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
    for _ in range(2):  # both queues close
        await asyncio.sleep(0)
    with pytest.raises(DrainingError):
        await explainer.explain(call())
    assert not drained.done()
    backend.gate.set()
    await drained
    assert all(task.done() for task in tasks)


def test_methods_are_listed_with_what_is_in_the_way(explainer):
    methods = {method.name: method for method in explainer.methods()}
    assert methods["saliency"].available
    assert methods["saliency"].forward_passes == 0  # the size of a row is not known
    assert not methods["deep_lift"].available
    assert methods["deep_lift"].reason == "deep_lift has no rule for einsum"
    assert explainer.backend == "numpy"
    assert explainer.layers() == ()


def test_costs_are_told_where_the_size_is_known(backend):
    backend.channel_axis = 1
    scorer = SessionScorer(lambda x: x, output_shape=(2,), channel_axis=1, max_rows=4)
    explainer = Explainer("tiny", backend=backend, scorer=scorer, row_shape=(3, 32, 32))
    costs = {method.name: method for method in explainer.methods()}
    assert costs["saliency"].forward_passes == 3
    assert costs["integrated_gradients"].forward_passes == 3 * 50 + 2
    assert costs["integrated_gradients"].scales_with == "n_steps"
    assert costs["occlusion"].forward_passes == 1 + 16 * 16 - (16 + 16 - 1)  # 4 wide, 2 apart
    explainer.close()


async def test_without_an_original_the_session_does_what_needs_no_gradients():
    seen = []

    def run(x):
        seen.append(len(x))
        return x.reshape(len(x), -1)[:, :2]

    explainer = Explainer(
        "tiny",
        scorer=SessionScorer(run, output_shape=(2,), channel_axis=1, max_rows=3),
        no_backend=ExplainUnavailableError("saliency needs PyTorch"),
    )
    methods = {method.name: method for method in explainer.methods()}
    assert [name for name, method in methods.items() if method.available] == ["occlusion", "rise"]
    assert methods["saliency"].reason == "saliency needs PyTorch"
    x = np.ones((1, 1, 2, 2), np.float32)
    explained = await explainer.explain(
        ExplainCall(x, Targets(np.array([1])), method="occlusion", parameters={"window": 1})
    )
    np.testing.assert_array_equal(explained.attributions, [[[[0, 1], [0, 0]]]])
    assert max(seen) <= 3
    with pytest.raises(ExplainUnavailableError, match="needs PyTorch"):
        await explainer.explain(ExplainCall(x))
    explainer.close()


async def test_top_classes_and_contrasts_of_several_targets_per_row(explainer):
    explained = await explainer.explain(call(rows=2, targets_per_row=2))
    np.testing.assert_array_equal(explained.targets, [1, 0, 1, 0])
    np.testing.assert_array_equal(explained.attributions, WEIGHT[[1, 0, 1, 0]])
    contrast = Targets(np.array([1]), against=np.array([0]))
    explained = await explainer.explain(call(rows=3, targets=contrast))
    np.testing.assert_array_equal(explained.attributions, [WEIGHT[1] - WEIGHT[0]] * 3)
    np.testing.assert_array_equal(explained.scores, [2, 2, 2])
    with pytest.raises(InvalidArgumentError, match="targets_per_row is 3, expected 1 to 2"):
        await explainer.explain(call(targets_per_row=3))


async def test_a_row_that_cannot_fit_is_refused_before_it_is_queued(backend, explainer):
    with pytest.raises(ResourceExhaustedError, match="takes about 9 MiB"):
        await explainer.explain(ExplainCall(np.ones((1, 2, 4), np.float32)))
    assert backend.batches == []


async def test_a_method_that_the_network_does_not_allow_is_refused(explainer):
    with pytest.raises(NotExplainableError, match="no rule for einsum"):
        await explainer.explain(call(method="deep_lift"))


STEPPING = {"method": "integrated_gradients", "parameters": {"n_steps": 6}}


async def test_steps_are_told_with_their_progress(explainer):
    steps = [step async for step in explainer.explain_in_steps(call(targets=None, **STEPPING))]
    progress = [progress for progress, _ in steps]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    # A linear network's gradient is the same all along the line: each step knows it.
    for _, explained in steps:
        np.testing.assert_allclose(explained.attributions, [WEIGHT[1]], rtol=1e-6)


async def test_a_method_of_one_step_streams_its_answer(explainer):
    steps = [step async for step in explainer.explain_in_steps(call())]
    assert [progress for progress, _ in steps] == [1.0]


async def _turns():
    for _ in range(4):
        await asyncio.sleep(0)


async def _step_once(backend):
    """Let the explainer's thread take one step more, and wait until it is in the next."""
    await asyncio.to_thread(backend.started.acquire)


async def test_a_cancelled_call_stops_within_one_step(backend, explainer):
    backend.gate.clear()
    task = asyncio.create_task(explainer.explain(call(**STEPPING)))
    await _step_once(backend)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    backend.gate.set()
    await explainer.explain(call(first=9.0))  # the thread is free again
    assert [len(batch) for batch in backend.batches] == [2, 1]
    assert backend.batches[-1] == [9.0]


async def test_an_expired_call_stops_within_one_step(backend):
    class Clock:
        now = 0.0

        def time(self):
            return self.now

        def call_later(self, delay, callback):
            raise AssertionError("nothing waits")

    clock = Clock()
    explainer = Explainer("tiny", backend=backend, clock=clock)
    backend.gate.clear()
    task = asyncio.create_task(explainer.explain(call(deadline=5.0, **STEPPING)))
    await _step_once(backend)
    clock.now = 6.0
    backend.gate.set()
    with pytest.raises(DeadlineExceededError, match="33% of it was computed"):
        await task
    assert len(backend.batches) == 1
    explainer.close()


async def test_a_stream_that_is_left_stops_within_one_step(backend, explainer):
    backend.gate.clear()
    stream = explainer.explain_in_steps(call(**STEPPING))
    first = asyncio.create_task(anext(stream))
    await _step_once(backend)
    backend.gate.set()
    await first
    backend.gate.clear()
    await stream.aclose()
    backend.gate.set()
    await explainer.explain(call(first=9.0))
    assert backend.batches[-1] == [9.0]


async def test_a_stream_that_is_cut_off_leaves_no_task_behind(backend, explainer):
    before = asyncio.all_tasks()
    backend.gate.clear()
    stream = explainer.explain_in_steps(call(**STEPPING))
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    backend.gate.set()
    await explainer.drain()
    await asyncio.sleep(0)
    left = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}
    assert "Queue.get" not in left


async def test_closing_ends_a_long_call_with_its_next_step(backend, explainer):
    backend.gate.clear()
    task = asyncio.create_task(explainer.explain(call(**STEPPING)))
    await _step_once(backend)
    explainer.close()
    backend.gate.set()
    with pytest.raises(UnavailableError):
        await task
    assert len(backend.batches) == 1


async def test_a_long_call_keeps_a_quick_one_waiting_for_one_step_only(backend, explainer):
    backend.gate.clear()
    long = asyncio.create_task(explainer.explain(call(**STEPPING)))
    await _step_once(backend)
    quick = asyncio.create_task(explainer.explain(call(first=9.0)))
    for _ in range(4):
        await asyncio.sleep(0)
    backend.gate.set()
    await quick
    assert not long.done()
    await long
    assert backend.batches[1] == [9.0]


async def test_calls_that_ask_for_the_same_share_their_steps(backend, explainer):
    backend.most = 4
    backend.gate.clear()
    first = asyncio.create_task(explainer.explain(call(first=1.0, **STEPPING)))
    await _step_once(backend)
    others = [
        asyncio.create_task(explainer.explain(call(first=value, rows=rows, **STEPPING)))
        for value, rows in ((2.0, 1), (3.0, 2))
    ]
    await _turns()
    backend.gate.set()
    answers = await asyncio.gather(first, *others)
    # 6 points of each of 4 rows: 3 before there was company, then 21 as if they were one's.
    assert [len(batch) for batch in backend.batches] == [3, 4, 4, 4, 3, 3, 3]
    for answer, (value, rows) in zip(answers, ((1.0, 1), (2.0, 1), (3.0, 2)), strict=True):
        alone = await explainer.explain(call(first=value, rows=rows, **STEPPING))
        np.testing.assert_array_equal(answer.attributions, alone.attributions)
        np.testing.assert_array_equal(answer.scores, alone.scores)
        assert answer.reports == alone.reports


async def test_calls_that_ask_for_other_things_do_not_share_steps(backend, explainer):
    backend.most = 8
    more = {"method": "integrated_gradients", "parameters": {"n_steps": 7}}
    await asyncio.gather(explainer.explain(call(**STEPPING)), explainer.explain(call(**more)))
    assert sorted(map(len, backend.batches)) == [6, 7]


async def test_who_leaves_a_shared_step_takes_its_rows_along(backend, explainer):
    backend.most = 4
    backend.gate.clear()
    leaving = asyncio.create_task(explainer.explain(call(first=7.0, rows=8, **STEPPING)))
    await _step_once(backend)
    staying = asyncio.create_task(explainer.explain(call(first=1.0, **STEPPING)))
    await _turns()
    leaving.cancel()
    await _turns()
    backend.gate.set()
    answer = await staying
    # The step that ran, and then those of who is left alone.
    assert [len(batch) for batch in backend.batches] == [4, 3, 3]
    np.testing.assert_allclose(answer.attributions, [WEIGHT[1]], rtol=1e-6)


async def test_a_call_that_fails_in_a_shared_step_fails_alone(backend, explainer):
    backend.most = 4
    backend.fails_on = 0.75  # a point of the line to 1.5, with one step half way
    halfway = {"method": "integrated_gradients", "parameters": {"n_steps": 1}}
    answers = await asyncio.gather(
        explainer.explain(call(first=1.5, **halfway)),
        explainer.explain(call(first=1.0, **halfway)),
        return_exceptions=True,
    )
    assert isinstance(answers[0], ArithmeticError)
    np.testing.assert_allclose(answers[1].attributions, [WEIGHT[1]], rtol=1e-6)


async def test_more_callers_than_rows_fit_take_turns(backend):
    explainer = Explainer("tiny", backend=backend, max_queue_size=5)
    targets = Targets(np.array([0]))
    calls = [call(first=float(value), targets=targets, **STEPPING) for value in range(1, 6)]
    answers = await asyncio.gather(*map(explainer.explain, calls))
    assert max(map(len, backend.batches)) == 2
    assert sum(map(len, backend.batches)) == 5 * 6
    for value, answer in enumerate(answers, start=1):
        assert answer.attributions[0, 0, 0] == pytest.approx(value)  # the first weight is 1
    explainer.close()


def test_a_pair_that_agrees_passes(backend):
    seen = []

    def logits_of(x):
        seen.append(x)
        logits = backend.scores(x)
        return logits + 0.9 * (1e-4 + 1e-3 * np.abs(logits).max())

    verify_original(backend, manifest(), logits_of)
    verify_original(backend, manifest(), logits_of)
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

    verify_original(backend, made, logits_of)
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
def test_a_pair_that_does_not_agree_is_not_explained(backend, served, said):
    with pytest.raises(NotExplainableError, match=said):
        verify_original(backend, manifest(), lambda x: served(backend.scores(x)))


def test_a_size_that_varies_is_made_up(backend):
    made = manifest(inputs=(TensorSpec("input", "FP32", ("batch", 2, "width")),))
    seen = []

    class Any:
        def scores(self, x):
            seen.append(x.shape)
            return x[:, 0]

    verify_original(Any(), made, lambda x: x[:, 0])
    assert seen == [(2, 2, 64)]


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
    backend = load_original(original, manifest())
    verify_original(backend, manifest(), LinearBackend().scores)
    explainer = Explainer("tiny", backend=backend)
    explained = await explainer.explain(call(rows=2, targets=Targets(np.array([0, 1]))))
    np.testing.assert_array_equal(explained.attributions, WEIGHT)
    np.testing.assert_array_equal(explained.scores, [-1, 1])
    assert explainer.backend == "torch"
    await explainer.drain()
    explainer.close()


def test_a_broken_original_is_typed(original):
    original.write_bytes(b"PK")
    with pytest.raises(NotExplainableError, match="'tiny' version 1 cannot be explained"):
        load_original(original, manifest())


def test_a_manifest_without_a_gradient_node_is_typed(original):
    with pytest.raises(NotExplainableError, match="names no gradient_node"):
        load_original(original, manifest(gradient_node=None))


def test_importing_the_explainer_does_not_import_torch():
    code = "import sys, eyespot.server.explainer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_torch_the_extra_is_named(monkeypatch, original):
    for name in [name for name in sys.modules if name.startswith("eyespot.saliency.torch_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ExplainUnavailableError, match=r"pip install 'eyespot\[explain\]'"):
        load_original(original, manifest())
