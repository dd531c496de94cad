import numpy as np
import pytest

from eyespot.transfer import (
    Examples,
    ExamplesError,
    balanced_order,
    class_weights,
    positive_weights,
)


def labelled(labels):
    labels = np.asarray(labels)
    kind = np.int64 if labels.ndim == 1 else np.float32
    return Examples(np.zeros((len(labels), 1, 1, 1), np.uint8), labels.astype(kind))


def test_rare_classes_weigh_more_and_rows_weigh_one_in_the_mean():
    weights = class_weights(labelled([0, 0, 0, 1]), 2)
    assert weights.tolist() == pytest.approx([4 / 6, 4 / 2])
    assert np.mean(weights[[0, 0, 0, 1]]) == pytest.approx(1)


def test_positives_weigh_as_much_as_negatives():
    assert positive_weights(labelled([[1, 0], [1, 1], [1, 0], [0, 0]])).tolist() == [
        pytest.approx(1 / 3),
        3,
    ]
    assert positive_weights(labelled([0, 0, 0, 1])).tolist() == [3]


def test_each_class_comes_as_often():
    examples = labelled([0] * 11 + [1] * 3 + [2])
    order = balanced_order(examples, 3, seed=1)
    assert np.bincount(examples.labels[order]).tolist() == [5, 5, 5]
    assert np.bincount(order, minlength=15)[:11].max() == 1
    assert sorted(np.bincount(order, minlength=15)[11:14]) == [1, 2, 2]
    assert np.array_equal(order, balanced_order(examples, 3, seed=1))
    assert not np.array_equal(order, balanced_order(examples, 3, seed=2))


def test_what_is_left_over_goes_to_some_class():
    order = balanced_order(labelled([0] * 9 + [1] * 2), 2, seed=3)
    assert len(order) == 11
    assert sorted(np.bincount(order >= 9)) == [5, 6]


@pytest.mark.parametrize("weigh", [class_weights, lambda *given: balanced_order(*given, seed=0)])
def test_a_class_without_pictures_is_told(weigh):
    with pytest.raises(ExamplesError, match="class 1 has no picture"):
        weigh(labelled([0, 2]), 3)


@pytest.mark.parametrize("weigh", [class_weights, lambda *given: balanced_order(*given, seed=0)])
def test_pictures_of_several_classes_are_weighed_otherwise(weigh):
    with pytest.raises(ExamplesError, match="weigh them by positive_weights"):
        weigh(labelled([[1, 0], [1, 1]]), 2)


def test_a_single_probability_has_two_classes():
    with pytest.raises(ExamplesError, match="3 classes, expected 2"):
        positive_weights(labelled([0, 1, 2]))
