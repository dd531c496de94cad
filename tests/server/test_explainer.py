"""The explainer: what it answers, what it refuses, and which methods it lists."""

import numpy as np
import pytest
from tests.server.explaining import ROW, WEIGHT, call

from eyespot.server.errors import (
    ExplainUnavailableError,
    InvalidArgumentError,
    NotExplainableError,
    ResourceExhaustedError,
)
from eyespot.server.explainer import (
    ExplainCall,
    Explainer,
    SessionScorer,
    Targets,
)


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
    told = "^saliency needs PyTorch; methods that work here: occlusion, rise$"
    with pytest.raises(ExplainUnavailableError, match=told):
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
