"""Losses, held against PyTorch's own on the same numbers, or by hand."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from eyespot.transfer import ExamplesError, SettingsError
from eyespot.transfer.stages.objective import Objective

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]])


def test_classes_are_a_cross_entropy():
    objective = Objective("classes", 3)
    targets = objective.targets(np.array([0, 2]))
    assert targets.tolist() == [[1, 0, 0], [0, 0, 1]]
    expected = functional.cross_entropy(LOGITS, torch.tensor([0, 2]))
    assert objective.loss(LOGITS, targets) == pytest.approx(float(expected))
    assert objective.right(LOGITS, targets).tolist() == [1, 0]
    assert objective.outputs == 3


def test_label_smoothing_is_that_of_pytorch():
    objective = Objective("classes", 3, label_smoothing=0.1)
    expected = functional.cross_entropy(LOGITS, torch.tensor([0, 2]), label_smoothing=0.1)
    loss = objective.loss(LOGITS, objective.targets(np.array([0, 2])))
    assert float(loss) == pytest.approx(float(expected))


def test_class_weights_weigh_the_errors_on_a_class():
    each = functional.cross_entropy(LOGITS, torch.tensor([0, 2]), reduction="none")
    objective = Objective("classes", 3, class_weights=(3.0, 1.0, 0.5))
    loss = objective.loss(LOGITS, objective.targets(np.array([0, 2])))
    assert float(loss) == pytest.approx(float((3.0 * each[0] + 0.5 * each[1]) / 2))


def test_several_labels_are_told_each_by_itself():
    objective = Objective("multi-label", 3)
    labels = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
    targets = objective.targets(labels)
    expected = functional.binary_cross_entropy_with_logits(LOGITS, torch.from_numpy(labels))
    assert float(objective.loss(LOGITS, targets)) == pytest.approx(float(expected))
    # Above 0 is yes: (1, 0, 0) and (0, 1, 1).
    assert objective.right(LOGITS, targets).tolist() == pytest.approx([2 / 3, 2 / 3])


def test_one_probability_is_that_of_the_second_class():
    objective = Objective("single-probability", 2)
    targets = objective.targets(np.array([0, 1]))
    logits = torch.tensor([[-1.0], [-1.0]])
    # -log(1 - s) and -log(s) of s = sigmoid(-1)
    s = 1 / (1 + math.e)
    assert float(objective.loss(logits, targets)) == pytest.approx(
        (-math.log(1 - s) - math.log(s)) / 2
    )
    assert objective.outputs == 1
    assert objective.right(logits, targets).tolist() == [1, 0]
    weighted = Objective("single-probability", 2, class_weights=(1.0, 5.0))
    assert float(weighted.loss(logits, targets)) == pytest.approx(
        (-math.log(1 - s) - 5 * math.log(s)) / 2
    )


def test_smoothed_binary_targets_move_towards_one_half():
    objective = Objective("single-probability", 2, label_smoothing=0.2)
    loss = objective.loss(torch.tensor([[3.0]]), objective.targets(np.array([1])))
    s = 1 / (1 + math.exp(-3))
    assert float(loss) == pytest.approx(-0.9 * math.log(s) - 0.1 * math.log(1 - s))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "regression", "labels": 3}, "task must be one of classes, multi-label"),
        ({"task": "single-probability", "labels": 3}, "two classes apart, the data has 3"),
        ({"task": "classes", "labels": 3, "label_smoothing": 1.0}, "must lie in"),
    ],
)
def test_what_cannot_be_minimised_is_told(options, message):
    with pytest.raises(SettingsError, match=message):
        Objective(**options)


def test_labels_of_another_shape_are_told():
    with pytest.raises(ExamplesError, match=r"multi-label needs 2 values .* shape \(1,\)"):
        Objective("multi-label", 2).targets(np.array([1]))
    with pytest.raises(ExamplesError, match="one class below 2"):
        Objective("classes", 2).targets(np.array([2]))
