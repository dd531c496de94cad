"""What is explained: values by hand, derivatives by finite differences."""

import numpy as np
import pytest

from eyespot.saliency import SCORES, Objective, TargetError, Targets, UnknownScoreError
from eyespot.saliency.objective import join_targets

LOGITS = np.array([[1.0, 2.0, -0.5], [0.0, -1.0, 3.0]])


def objective(classes, score="logit", **parts):
    parts = {name: np.asarray(value) for name, value in parts.items()}
    return Objective(Targets(np.asarray(classes, np.int64), **parts), score)


def maps():
    """(1, 2, 2, 3): class 0 leads in three places, class 1 in three."""
    return np.array([[[[5, 4, 3], [0, 0, 0]], [[0, 0, 0], [1, 2, 6]]]], np.float32)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((2, 4), {}),
        ((2, 4), {"against": [3, 1]}),
        ((2, 5, 4), {}),
        ((2, 5, 4), {"steps": [4, 0]}),
        ((2, 4, 3, 2), {}),
        ((2, 4, 3, 2), {"regions": np.arange(12).reshape(2, 3, 2) % 3 == 0}),
    ],
)
def test_derivatives_are_finite_differences(score, shape, parts):
    outputs = np.random.default_rng(0).standard_normal(shape)
    fixed = objective([1, 0], score, **parts).resolve(outputs)
    found = fixed(outputs)
    step = 1e-3
    for index in np.ndindex(shape):
        up, down = outputs.copy(), outputs.copy()
        up[index] += step
        down[index] -= step
        slope = (fixed(up).values[index[0]] - fixed(down).values[index[0]]) / (2 * step)
        assert found.derivatives[index] == pytest.approx(slope, abs=3e-4)


def test_a_score_of_a_contrast_is_a_difference():
    found = objective([0, 2], against=[1, 0])(LOGITS)
    np.testing.assert_array_equal(found.values, [-1, 3])
    np.testing.assert_array_equal(found.derivatives, [[1, -1, 0], [-1, 0, 1]])


def test_negative_classes_count_from_the_top():
    found = objective([-1, -2])(LOGITS)
    np.testing.assert_array_equal(found.classes, [1, 0])
    np.testing.assert_array_equal(found.values, [2, 0])


def test_targets_of_one_row_stand_together():
    found = objective([-1, -2, -1, 1])(LOGITS)
    np.testing.assert_array_equal(found.classes, [1, 0, 2, 1])
    np.testing.assert_array_equal(found.values, [2, 1, 3, -1])
    of_second = objective([-1, -2, -1, 1]).of_rows(np.array([1, 1]), rows=2)
    np.testing.assert_array_equal(of_second.targets.classes, [-1, 1, -1, 1])


def test_a_map_is_explained_where_the_class_is_predicted():
    found = objective([1])(maps())
    np.testing.assert_array_equal(found.values, [3])  # (1 + 2 + 6) / 3
    expected = np.zeros((1, 2, 2, 3))
    expected[0, 1, 1] = 1 / 3
    np.testing.assert_allclose(found.derivatives, expected, rtol=1e-6)


def test_a_region_may_be_given():
    region = np.zeros((1, 2, 3), bool)
    region[0, 0, :2] = True
    found = objective([-1], regions=region)(maps())
    assert (found.classes[0], found.values[0]) == (0, 4.5)


def test_the_top_class_of_a_map_is_the_one_that_is_predicted_most():
    output = np.zeros((1, 3, 2, 2), np.float32)
    output[0, 2, 0], output[0, 0, 1, 0], output[0, 1, 1, 1] = 0.1, 9, 9
    assert objective([-1])(output).classes[0] == 2


def test_a_class_that_is_predicted_nowhere_has_the_score_zero():
    output = np.zeros((1, 2, 2, 2), np.float32)
    output[0, 0] = 1
    found = objective([1])(output)
    assert found.values[0] == 0
    assert not found.derivatives.any()


def test_a_sequence_is_explained_at_a_step_or_in_the_mean():
    outputs = np.array([[[1.0, 0.0], [3.0, 8.0]]])  # (1, 2, 2)
    assert objective([0], steps=[1])(outputs).values[0] == 3
    assert objective([0])(outputs).values[0] == 2
    assert objective([-1], steps=[0])(outputs).classes[0] == 0


def test_similarity_is_the_cosine_and_its_derivative():
    outputs = np.array([[3.0, 4.0]])
    found = objective([-1], embeddings=[[2.0, 0.0]])(outputs)
    np.testing.assert_allclose(found.values, [0.6], rtol=1e-6)
    # (e / |e| - cos u / |u|) / |u| = ((1, 0) - 0.6 (0.6, 0.8)) / 5
    np.testing.assert_allclose(found.derivatives, [[0.128, -0.096]], rtol=1e-6)
    assert found.classes[0] == -1


def test_the_similarity_to_a_zero_output_is_finite():
    found = objective([-1], embeddings=[[2.0, 0.0]])(np.zeros((1, 2)))
    assert found.values[0] == 0
    assert np.isfinite(found.values).all()


@pytest.mark.parametrize(
    ("wrong", "shape", "said"),
    [
        (objective([3, 0]), (3,), "target 3 is out of range: .* classes 0 to 2"),
        (objective([-4, 0]), (3,), "target -4 is out of range"),
        (objective([0, 0], against=[0, 5]), (3,), "target 5"),
        (objective([0, 0, 0]), (3,), "one target for each of 2 rows, found 3"),
        (objective([0, 0], steps=[0, 1]), (3,), r"a step belongs to a sequence .* \[3\]"),
        (objective([0, 0], steps=[0, 9]), (4, 3), "step 9 is out of range: .* 0 to 3"),
        (objective([0, 0], regions=np.ones((2, 2, 2), bool)), (3, 2, 3), r"\[2, 2\], expected"),
        (objective([0, 0], regions=np.ones((2, 2, 2), bool)), (3,), "a region belongs to a map"),
        (objective([-1, -1], embeddings=np.ones((2, 4))), (3,), r"of shape \[4\], expected \[3\]"),
    ],
)
def test_the_impossible_is_typed(wrong, shape, said):
    with pytest.raises(TargetError, match=said):
        wrong.check(shape, rows=2)


def test_a_size_that_varies_is_checked_when_it_is_known():
    wrong = objective([0], regions=np.ones((1, 2, 2), bool))
    wrong.check((3, None, None), rows=1)
    with pytest.raises(TargetError, match=r"region is of shape \[2, 2\], the network's map of"):
        wrong(np.zeros((1, 3, 4, 4)))


def test_scores_that_cannot_be_are_typed():
    with pytest.raises(UnknownScoreError, match="a similarity is explained as it is"):
        objective([-1], "probability", embeddings=[[1.0, 0, 0]]).check((3,), rows=1)
    with pytest.raises(UnknownScoreError, match="one class: ask for logit"):
        objective([0], "binary_logit").check((1,), rows=1)


def test_large_logits_do_not_overflow():
    for score in SCORES:
        found = objective([0, 1], score)(np.array([[1e4, -1e4], [1e4, -1e4]]))
        assert np.isfinite(found.values).all()
        assert np.isfinite(found.derivatives).all()


def test_targets_of_one_kind_are_joined():
    first, second = objective([1], against=[0]).targets, objective([2, 0], against=[1, 1]).targets
    assert first.kind == second.kind != objective([1]).targets.kind
    joined = join_targets([first, second])
    np.testing.assert_array_equal(joined.classes, [1, 2, 0])
    np.testing.assert_array_equal(joined.against, [0, 1, 1])
    assert joined.regions is None
