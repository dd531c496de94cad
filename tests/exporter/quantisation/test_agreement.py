import numpy as np
import pytest

from eyespot.exporter.parity import Batch
from eyespot.exporter.quantisation.agreement import Judge

# Four pictures in two batches; the answers are the pictures themselves.
PICTURES = np.array([[3.0, 0.0], [0.0, 4.0], [1.0, 0.0], [0.0, 2.0]], np.float32)
BATCHES = (Batch("a", (PICTURES[:3],)), Batch("b", (PICTURES[3:],)))


def judge(classes=None):
    return Judge(lambda x: (x,), BATCHES, classes=classes, class_axis=1)


def test_numbers_by_hand():
    # The third picture changes its class: (1, 0) becomes (0, 1).
    def swap(x):
        is_third = (x == [1, 0]).all(axis=1, keepdims=True)
        return (np.where(is_third, x[:, ::-1], x),)

    found = judge(np.array([0, 1, 0, 0])).compare(swap)
    assert found.top1_agreement == 0.75
    assert found.accuracy == 0.5
    assert found.source_accuracy == 0.75
    assert found.accuracy_drop == 25
    assert found.max_abs_diff == 1
    assert found.relative_error == pytest.approx(np.sqrt(2 / 30))  # of 9 + 16 + 1 + 4
    assert found.pictures == 4


def test_without_classes_there_is_no_accuracy():
    found = judge().compare(lambda x: (x,))
    assert (found.accuracy, found.accuracy_drop) == (None, None)
    assert (found.top1_agreement, found.relative_error) == (1, 0)
